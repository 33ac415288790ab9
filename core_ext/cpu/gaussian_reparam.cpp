// The work unit is a row. Short rows share a tile of noise; long ones take tile after tile.
#include "genpipe/gaussian_reparam.h"

#include "noise.h"
#include "row_sum.h"

namespace genpipe {
namespace {

// Calls part(row, column, count, noise) for the parts of the rows [begin, end), each part at most a tile and starting
// at a multiple of kTile, with its normals.
template <class C, class Args, class Part>
GENPIPE_FN void for_each_part(const Args& a, int64_t begin, int64_t end, Part part) {
  int64_t per_row = blocks_per_row(a.columns);
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  C tile[kTile];
  if (per_row <= kTileBlocks) {
    int64_t group = kTileBlocks / (per_row > 0 ? per_row : 1);
    for (int64_t row = begin; row < end; row += group) {
      int64_t rows = min(group, end - row);
      normal_tile(a.key, first + row * per_row, rows * per_row, tile);
      for (int64_t r = 0; r < rows; ++r) part(row + r, int64_t(0), a.columns, tile + 4 * per_row * r);
    }
    return;
  }
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t column = 0; column < a.columns; column += kTile) {
      int64_t count = min(kTile, a.columns - column);
      normal_tile(a.key, first + row * per_row + column / 4, blocks_per_row(count), tile);
      part(row, column, count, static_cast<const C*>(tile));
    }
  }
}

template <class T>
GENPIPE_FN void forward(const GaussianReparamArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  double total = 0;
  for_each_part<C>(a, begin, end, [&](int64_t row, int64_t column, int64_t count, const C* noise) {
    int64_t at = row * a.columns + column;
    const T* mean = static_cast<const T*>(a.mean) + at;
    const T* log_var = static_cast<const T*>(a.log_var) + at;
    T* z = static_cast<T*>(a.z) + at;
    if (column == 0) total = 0;
    // Tiles are whole sum blocks, so a row's tree does not depend on where tiles end.
    for (int64_t j = 0; j < count; j += kSumBlock) {
      C block[kSumBlock];
      int64_t n = min(kSumBlock, count - j);
      for (int64_t i = 0; i < n; ++i) {
        store(z + j + i, reparameterise(load(mean + j + i), load(log_var + j + i), noise[j + i], &block[i]));
      }
      total += sum_block(block, n);
    }
    if (column + count == a.columns) static_cast<C*>(a.kl)[row] = C(total);
  });
}

template <class T>
GENPIPE_FN void backward(const GaussianReparamBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for_each_part<C>(a, begin, end, [&](int64_t row, int64_t column, int64_t count, const C* noise) {
    int64_t at = row * a.columns + column;
    const T* grad_z = static_cast<const T*>(a.grad_z) + at;
    const T* mean = static_cast<const T*>(a.mean) + at;
    const T* log_var = static_cast<const T*>(a.log_var) + at;
    T* grad_mean = static_cast<T*>(a.grad_mean) + at;
    T* grad_log_var = static_cast<T*>(a.grad_log_var) + at;
    C grad_kl = static_cast<const C*>(a.grad_kl)[row * a.grad_stride];
    for (int64_t j = 0; j < count; ++j) {
      C m, v;
      reparameterise_backward(load(grad_z + j), grad_kl, load(mean + j), load(log_var + j), noise[j], &m, &v);
      store(grad_mean + j, m);
      store(grad_log_var + j, v);
    }
  });
}

}  // namespace

namespace GENPIPE_VARIANT {

void gaussian_reparam(const GaussianReparamArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { forward<decltype(t)>(a, begin, end); });
}

void gaussian_reparam_backward(const GaussianReparamBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { backward<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
