#include "genpipe/langevin.h"

#include "pack.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Step {
  LangevinStepArgs a;

  __device__ void operator()(PackPlace place) const {
    typedef compute_t<T> C;
    LangevinStep<C> step = LangevinStep<C>::of(a);
    C x[kPack<T>], grad[kPack<T>], noise[kPack<T>];
    load_pack<T>(a.x, place, x);
    load_pack<T>(a.grad_energy, place, grad);
    uint64_t first = uint64_t(a.first_index + place.row) * uint64_t(blocks_per_row(a.columns));
    normal_pack<T>(read_key(a.key, a.device_key), first, place, noise);
    for (int k = 0; k < kPack<T>; ++k) x[k] = langevin_move(step, x[k], grad[k], noise[k]);
    store_pack<T>(a.out, place, x);
  }
};

}  // namespace

int langevin_step(const LangevinStepArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    return launch_for_each_pack<T>(Step<T>{a}, a.rows, a.columns, {a.x, a.grad_energy, a.out}, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
