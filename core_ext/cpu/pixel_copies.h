// Copies of pixels in the shape that a kernel reads them: rows with zeros between them, and channels innermost.
#pragma once

#include "masked_conv_plan.h"
#include "vector.h"

namespace genpipe {

// The `count` numbers at `from`, then zeros up to the next whole vector, whose place must exist.
template <class C>
GENPIPE_FN void copy_row(const C* from, int64_t count, C* to) {
  typedef Vector<C> Vec;
  int64_t i = 0;
  for (; i + Vec::kWidth <= count; i += Vec::kWidth) Vec::store(to + i, Vec::load(from + i));
  if (i < count) Vec::store(to + i, Vec::load_first(from + i, count - i));
}
GENPIPE_FN void copy_row(const bfloat16* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = load(from + i);
  for (int64_t i = count; i % Vector<float>::kWidth != 0; ++i) to[i] = 0;
}

// Rows [first, first + rows) of each of the image's channels, (height, width), with zeros between them and where the
// image has none. A channel's copy ends before pitch by a vector or more.
template <class T>
GENPIPE_FN void copy_padded(const T* image, int64_t channels, int64_t height, int64_t width, int64_t first,
                            int64_t rows, const PaddedRows& padded, compute_t<T>* copy) {
  typedef Vector<compute_t<T>> Vec;
  int64_t past = (width + Vec::kWidth - 1) / Vec::kWidth * Vec::kWidth;  // copy_row's zeros end here
  for (int64_t channel = 0; channel < channels; ++channel, image += height * width, copy += padded.pitch) {
    compute_t<T>* to = copy;
    for (int64_t i = 0; i < padded.margin; ++i) to[i] = 0;
    to += padded.margin;
    for (int64_t row = first; row < first + rows; ++row, to += padded.width) {
      bool given = row >= 0 && row < height;
      if (given) copy_row(image + row * width, width, to);
      for (int64_t i = given ? past : 0; i < padded.width; ++i) to[i] = 0;
    }
  }
}

// An 8 by 8 block turned over: rows of `from`, `pitch` apart, into those of `to`.
template <class C>
GENPIPE_FN void transpose_block(const C* from, int64_t from_pitch, C* to, int64_t to_pitch) {
  typedef C V __attribute__((vector_size(8 * sizeof(C))));
  V a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) __builtin_memcpy(&a[i], from + i * from_pitch, sizeof(V));
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {  // pairs of rows, then fours, then eights
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
#pragma GCC unroll 2
    for (int j = i; j < i + 2; ++j) {
      a[j] = __builtin_shufflevector(b[j], b[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[j + 2] = __builtin_shufflevector(b[j], b[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    b[j] = __builtin_shufflevector(a[j], a[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    b[j + 4] = __builtin_shufflevector(a[j], a[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) __builtin_memcpy(to + i * to_pitch, &b[i], sizeof(V));
}

template <class T>
GENPIPE_FN void transpose_one_by_one(const T* from, int64_t from_pitch, int64_t rows, int64_t columns,
                                     compute_t<T>* to, int64_t to_pitch) {
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) to[column * to_pitch + row] = load(from + row * from_pitch + column);
  }
}

// to[column][row] = from[row][column].
template <class C>
GENPIPE_FN void transpose(const C* from, int64_t from_pitch, int64_t rows, int64_t columns, C* to, int64_t to_pitch) {
  int64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
  for (int64_t row = 0; row < whole_rows; row += 8) {
    for (int64_t column = 0; column < whole_columns; column += 8) {
      transpose_block(from + row * from_pitch + column, from_pitch, to + column * to_pitch + row, to_pitch);
    }
  }
  transpose_one_by_one(from + whole_rows * from_pitch, from_pitch, rows - whole_rows, columns, to + whole_rows,
                       to_pitch);
  transpose_one_by_one(from + whole_columns, from_pitch, whole_rows, columns - whole_columns,
                       to + whole_columns * to_pitch, to_pitch);
}
GENPIPE_FN void transpose(const bfloat16* from, int64_t from_pitch, int64_t rows, int64_t columns, float* to,
                          int64_t to_pitch) {
  transpose_one_by_one(from, from_pitch, rows, columns, to, to_pitch);
}

}  // namespace genpipe
