// The mean of each column of a matrix, in float64: x_0 + Σ_i (x_i − x_0) / rows. Counting from the first row keeps the
// digits of data far from the origin. Rows add up in chunks of 256, and the chunks in order: one fixed tree.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

struct ColumnMeanArgs {
  DType dtype;
  const void* x;     // (rows, columns)
  double* partial;   // (chunks, columns), CUDA's scratch; null on the CPU
  double* mean;      // (columns,)
  int64_t rows;      // at least 1
  int64_t columns;
};

constexpr int64_t kMeanChunk = 256;  // rows
constexpr int64_t kMeanTile = 64;    // columns

GENPIPE_FN int64_t num_chunks(int64_t rows) { return (rows + kMeanChunk - 1) / kMeanChunk; }

}  // namespace genpipe
