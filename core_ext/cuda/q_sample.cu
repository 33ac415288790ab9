#include "genpipe/q_sample.h"

#include "noise_level.cuh"
#include "pack.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct QSample {
  QSampleArgs a;

  __device__ void operator()(PackPlace place) const {
    typedef compute_t<T> C;
    NoiseLevel<double> exact = checked_level("q_sample", a.levels, place.row);
    NoiseLevel<C> level = level_in<C>(exact);
    C x0[kPack<T>], noise[kPack<T>];
    load_pack<T>(a.x0, place, x0);
    if (a.noise != nullptr) {
      load_pack<T>(a.noise, place, noise);
    } else {
      uint64_t first = uint64_t(a.first_index + place.row) * uint64_t(blocks_per_row(a.columns));
      normal_pack<T>(read_key(a.key, a.device_key), first, place, noise);
    }
    if (a.target != nullptr) {
      Target<C> wanted = target_at<C>(a.prediction, exact);
      C target[kPack<T>];
      for (int k = 0; k < kPack<T>; ++k) {
        noise[k] = rounded_noise(static_cast<const T*>(nullptr), noise[k]);
        target[k] = target_value(wanted, x0[k], noise[k]);
      }
      store_pack<T>(a.target, place, target);
    }
    for (int k = 0; k < kPack<T>; ++k) x0[k] = noised(level, x0[k], noise[k]);
    store_pack<T>(a.out, place, x0);
  }
};

template <class T>
int launch(const QSampleArgs& a, void* stream) {
  return launch_for_each_pack<T>(QSample<T>{a}, a.rows, a.columns, {a.x0, a.noise, a.out, a.target}, stream);
}

}  // namespace

int q_sample(const QSampleArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) { return launch<decltype(t)>(a, stream); });
}

}  // namespace cuda
}  // namespace genpipe
