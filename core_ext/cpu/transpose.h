// Records side by side: between memory, where an element's numbers lie together, and a buffer in the first-level cache
// where a group of elements has its first numbers together, its second ones, and so on, as loops over elements want it.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

constexpr int kGroup = 16;  // elements

// For each element i of a group; no two of them touch the same memory.
#define GENPIPE_EACH(i) _Pragma("GCC ivdep") for (int i = 0; i < kGroup; ++i)

typedef float Quad __attribute__((vector_size(16)));
typedef int QuadOrder __attribute__((vector_size(16)));

GENPIPE_FN void transpose_quads(Quad q[4]) {
  Quad low01 = __builtin_shuffle(q[0], q[1], QuadOrder{0, 4, 1, 5});
  Quad low23 = __builtin_shuffle(q[2], q[3], QuadOrder{0, 4, 1, 5});
  Quad high01 = __builtin_shuffle(q[0], q[1], QuadOrder{2, 6, 3, 7});
  Quad high23 = __builtin_shuffle(q[2], q[3], QuadOrder{2, 6, 3, 7});
  q[0] = __builtin_shuffle(low01, low23, QuadOrder{0, 1, 4, 5});
  q[1] = __builtin_shuffle(low01, low23, QuadOrder{2, 3, 6, 7});
  q[2] = __builtin_shuffle(high01, high23, QuadOrder{0, 1, 4, 5});
  q[3] = __builtin_shuffle(high01, high23, QuadOrder{2, 3, 6, 7});
}

// group[j * kGroup + i] = records[i * size + j]: number j of record i. Of an incomplete group the last record is
// repeated.
template <class T, class C>
GENPIPE_FN void load_records(const T* records, int64_t count, int size, C* group) {
  for (int i = 0; i < kGroup; ++i) {
    const T* record = records + min(i, count - 1) * size;
    for (int j = 0; j < size; ++j) group[j * kGroup + i] = load(record + j);
  }
}

// And back.
template <class T, class C>
GENPIPE_FN void store_records(const C* group, int64_t count, int size, T* records) {
  for (int64_t i = 0; i < count; ++i) {
    for (int j = 0; j < size; ++j) store(records + i * size + j, group[j * kGroup + i]);
  }
}

// Whole groups of floats go by squares of four; the last square of a record overlaps the one before it.
GENPIPE_FN void load_records(const float* records, int64_t count, int size, float* group) {
  if (count < kGroup || size < 4) return load_records<float, float>(records, count, size, group);
  for (int next = 0; next < size; next += 4) {
    int j = next + 4 <= size ? next : size - 4;
    for (int i = 0; i < kGroup; i += 4) {
      Quad q[4];
      for (int r = 0; r < 4; ++r) __builtin_memcpy(&q[r], records + (i + r) * size + j, sizeof(Quad));
      transpose_quads(q);
      for (int r = 0; r < 4; ++r) __builtin_memcpy(group + (j + r) * kGroup + i, &q[r], sizeof(Quad));
    }
  }
}

GENPIPE_FN void store_records(const float* group, int64_t count, int size, float* records) {
  if (count < kGroup || size < 4) return store_records<float, float>(group, count, size, records);
  for (int i = 0; i < kGroup; i += 4) {
    for (int next = 0; next < size; next += 4) {
      int j = next + 4 <= size ? next : size - 4;
      Quad q[4];
      for (int r = 0; r < 4; ++r) __builtin_memcpy(&q[r], group + (j + r) * kGroup + i, sizeof(Quad));
      transpose_quads(q);
      for (int r = 0; r < 4; ++r) __builtin_memcpy(records + (i + r) * size + j, &q[r], sizeof(Quad));
    }
  }
}

}  // namespace genpipe
