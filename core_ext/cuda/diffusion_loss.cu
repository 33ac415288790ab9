// Forward: the rows' sums, whose blocks first share out their Philox blocks. Backward: a thread takes a pack.
#include "genpipe/diffusion_loss.h"

#include "noise_level.cuh"
#include "pack.cuh"
#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

static __device__ uint64_t first_block(const DiffusionLossArgs& a, int64_t row) {
  return uint64_t(a.first_index + row) * uint64_t(blocks_per_row(a.columns));
}

template <class T>
struct Forward {
  typedef compute_t<T> C;
  static constexpr bool kScratch = true;
  DiffusionLossArgs a;

  // The targets, from four elements' noise at a time.
  __device__ void prepare(int64_t row, int64_t column, int64_t count, C* targets, int lane) const {
    Target<C> target = target_at<C>(a.target, checked_level("diffusion_loss", a.levels, row));
    int64_t at = row * a.columns + column;
    const T* x0 = static_cast<const T*>(a.x0) + at;
    const T* given = static_cast<const T*>(a.noise) + at;
    PhiloxKey key = read_key(a.key, a.device_key);
    uint64_t first = first_block(a, row) + column / 4;
    for (int b = lane; 4 * b < count; b += kSumLanes) {
      C noise[4];
      if (a.noise == nullptr) normal_block(key, first + b, noise);
      for (int k = 0; k < 4 && 4 * b + k < count; ++k) {
        int j = 4 * b + k;
        targets[j] = target_value(target, load(x0 + j), a.noise != nullptr ? load(given + j) : noise[k]);
      }
    }
  }

  __device__ C at(int64_t row, int64_t column, int64_t offset, const C* targets) const {
    int64_t i = row * a.columns + column + offset;
    C error = load(static_cast<const T*>(a.prediction) + i) - targets[offset];
    C weighted = C(loss_weight(a, row)) * error;
    if (a.slope != nullptr) static_cast<C*>(a.slope)[i] = C(2) * weighted;
    return weighted * error;
  }
};

template <class T>
struct Backward {
  DiffusionLossBackwardArgs b;

  __device__ void operator()(PackPlace place) const {
    typedef compute_t<T> C;
    const DiffusionLossArgs& a = b.forward;
    Target<C> target = target_at<C>(a.target, checked_level("diffusion_loss_backward", a.levels, place.row));
    C weight = C(loss_weight(a, place.row)), grad = static_cast<const C*>(b.grad)[place.row * b.grad_stride];
    C prediction[kPack<T>], x0[kPack<T>], noise[kPack<T>];
    load_pack<T>(a.prediction, place, prediction);
    load_pack<T>(a.x0, place, x0);
    if (a.noise != nullptr) {
      load_pack<T>(a.noise, place, noise);
    } else {
      normal_pack<T>(read_key(a.key, a.device_key), first_block(a, place.row), place, noise);
    }
    for (int k = 0; k < kPack<T>; ++k) {
      prediction[k] = grad * (C(2) * (weight * loss_error(target, prediction[k], x0[k], noise[k])));
    }
    store_pack<T>(b.grad_prediction, place, prediction);
  }
};

template <class T>
int forward(const DiffusionLossArgs& a, void* stream) {
  return launch_sum_rows<compute_t<T>>(Forward<T>{a}, a.rows, a.columns, a.loss, stream);
}

template <class T>
int backward(const DiffusionLossBackwardArgs& b, void* stream) {
  const DiffusionLossArgs& a = b.forward;
  return launch_for_each_pack<T>(Backward<T>{b}, a.rows, a.columns, {a.prediction, a.x0, a.noise, b.grad_prediction},
                                 stream);
}

}  // namespace

int diffusion_loss(const DiffusionLossArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) { return forward<decltype(t)>(a, stream); });
}

int diffusion_loss_backward(const DiffusionLossBackwardArgs& a, void* stream) {
  return dispatch_dtype(a.forward.dtype, [&](auto t) { return backward<decltype(t)>(a, stream); });
}

}  // namespace cuda
}  // namespace genpipe
