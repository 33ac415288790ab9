// The work unit is a Philox block.
#include "genpipe/langevin.h"

#include "noise.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN void run(const LangevinStepArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  int64_t per_row = blocks_per_row(a.columns);
  uint64_t first = uint64_t(a.first_index) * uint64_t(per_row);
  LangevinStep<C> step = LangevinStep<C>::of(a);
  C tile[kTile];
  for (int64_t b = begin; b < end; b += kTileBlocks) {
    int64_t stop = min(end, b + kTileBlocks);
    normal_tile(a.key, first + b, stop - b, tile);
    for_each_piece(b, stop, per_row, a.columns, [&](int64_t row, int64_t column, int64_t count, int64_t offset) {
      int64_t at = row * a.columns + column;
      const T *x = static_cast<const T*>(a.x) + at, *grad = static_cast<const T*>(a.grad_energy) + at;
      T* out = static_cast<T*>(a.out) + at;
      const C* noise = tile + offset;
#pragma GCC ivdep  // out may be x itself
      for (int64_t j = 0; j < count; ++j) store(out + j, langevin_move(step, load(x + j), load(grad + j), noise[j]));
    });
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void langevin_step(const LangevinStepArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { run<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
