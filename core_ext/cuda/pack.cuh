// Kernels over whole tensors whose threads take 16 bytes of each at a time, or 32 of float64: whole Philox blocks of
// one row, so that noise can be made beside the loads.
#pragma once

#include <initializer_list>

#include "genpipe/random.h"
#include "launch.cuh"

namespace genpipe {
namespace cuda {

template <class T>
constexpr int kPack = sizeof(T) == 2 ? 8 : 4;  // elements, one or two Philox blocks

template <class T>
struct alignas(16) Bytes16 {
  T values[16 / sizeof(T)];
};

// A thread's share of a row. Where it is `whole`, every tensor's part of it starts at a multiple of 16 bytes.
struct PackPlace {
  int64_t row, column, at;
  int count;
  bool whole;
};

template <class T>
static __device__ __forceinline__ void load_pack(const void* base, PackPlace place, compute_t<T> out[kPack<T>]) {
  const T* p = static_cast<const T*>(base) + place.at;
  if (place.whole) {
    constexpr int kPart = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < kPack<T>; i += kPart) {
      Bytes16<T> part = *reinterpret_cast<const Bytes16<T>*>(p + i);
#pragma unroll
      for (int k = 0; k < kPart; ++k) out[i + k] = load(part.values + k);
    }
  } else {
#pragma unroll
    for (int k = 0; k < kPack<T>; ++k) out[k] = k < place.count ? load(p + k) : compute_t<T>(0);
  }
}

template <class T>
static __device__ __forceinline__ void store_pack(void* base, PackPlace place, const compute_t<T> values[kPack<T>]) {
  T* p = static_cast<T*>(base) + place.at;
  if (place.whole) {
    constexpr int kPart = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < kPack<T>; i += kPart) {
      Bytes16<T> part;
#pragma unroll
      for (int k = 0; k < kPart; ++k) store(part.values + k, values[i + k]);
      *reinterpret_cast<Bytes16<T>*>(p + i) = part;
    }
  } else {
#pragma unroll
    for (int k = 0; k < kPack<T>; ++k) {
      if (k < place.count) store(p + k, values[k]);
    }
  }
}

// The normals of a pack; its row starts at Philox block `first`.
template <class T>
static __device__ __forceinline__ void normal_pack(PhiloxKey key, uint64_t first, PackPlace place,
                                                   compute_t<T> out[kPack<T>]) {
#pragma unroll
  for (int k = 0; k < kPack<T>; k += 4) normal_block(key, first + uint64_t(place.column + k) / 4, out + k);
}

inline bool starts_at_16_bytes(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;  // a null pointer does
}

// Calls piece(place) for every pack of a (rows, columns) tensor, one thread each.
template <class T, class Piece>
__global__ void __launch_bounds__(kThreads) for_each_pack(Piece piece, int64_t rows, int64_t columns, bool whole) {
  int64_t per_row = (columns + kPack<T> - 1) / kPack<T>, packs = rows * per_row;
  int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < packs; i += stride) {
    int64_t row = i / per_row, column = (i - row * per_row) * kPack<T>;
    piece(PackPlace{row, column, row * columns + column, int(min(columns - column, kPack<T>)), whole});
  }
}

// pointers: of all tensors that the piece loads or stores packs of.
template <class T, class Piece>
int launch_for_each_pack(Piece piece, int64_t rows, int64_t columns, std::initializer_list<const void*> pointers,
                         void* stream) {
  bool whole = columns % kPack<T> == 0;
  for (const void* pointer : pointers) whole = whole && starts_at_16_bytes(pointer);
  int64_t packs = rows * ((columns + kPack<T> - 1) / kPack<T>);
  GENPIPE_CUDA_LAUNCH((for_each_pack<T, Piece>), blocks_for(packs, kThreads), kThreads, 0, stream, piece, rows, columns,
                      whole);
  return int(cudaGetLastError());
}

}  // namespace cuda
}  // namespace genpipe
