// The work unit is a tile of columns.
#include "genpipe/column_mean.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void tile_mean(const ColumnMeanArgs& a, int64_t column, int width) {
  const T* x = static_cast<const T*>(a.x) + column;
  double total[kMeanTile] = {};
  for (int64_t start = 0; start < a.rows; start += kMeanChunk) {
    double chunk[kMeanTile] = {};
    int64_t stop = min(a.rows, start + kMeanChunk);
    for (int64_t row = start; row < stop; ++row) {
      const T* from = x + row * a.columns;
      for (int j = 0; j < width; ++j) chunk[j] += double(load(from + j)) - double(load(x + j));
    }
    for (int j = 0; j < kMeanTile; ++j) total[j] += chunk[j];
  }
  for (int j = 0; j < width; ++j) a.mean[column + j] = double(load(x + j)) + total[j] / double(a.rows);
}

template <class T>
GENPIPE_FN void mean(const ColumnMeanArgs& a, int64_t begin, int64_t end) {
  for (int64_t tile = begin; tile < end; ++tile) {
    int64_t column = tile * kMeanTile, width = min(kMeanTile, a.columns - column);
    // A width that the compiler knows keeps the sums in registers.
    width == kMeanTile ? tile_mean<T>(a, column, kMeanTile) : tile_mean<T>(a, column, int(width));
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void column_mean(const ColumnMeanArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { mean<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
