// One thread adds a column's chunk, one more the column's chunks.
#include "genpipe/column_mean.h"

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Chunk {
  ColumnMeanArgs a;

  __device__ void operator()(int64_t i) const {
    int64_t column = i % a.columns, start = i / a.columns * kMeanChunk, stop = min(a.rows, start + kMeanChunk);
    const T* x = static_cast<const T*>(a.x) + column;
    double first = double(load(x)), sum = 0;
    for (int64_t row = start; row < stop; ++row) sum += double(load(x + row * a.columns)) - first;
    a.partial[i] = sum;
  }
};

template <class T>
struct Mean {
  ColumnMeanArgs a;

  __device__ void operator()(int64_t column) const {
    double total = 0;
    for (int64_t i = column; i < num_chunks(a.rows) * a.columns; i += a.columns) total += a.partial[i];
    a.mean[column] = double(load(static_cast<const T*>(a.x) + column)) + total / double(a.rows);
  }
};

}  // namespace

int column_mean(const ColumnMeanArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    int code = launch_for_each(Chunk<decltype(t)>{a}, num_chunks(a.rows) * a.columns, stream);
    return code != 0 ? code : launch_for_each(Mean<decltype(t)>{a}, a.columns, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
