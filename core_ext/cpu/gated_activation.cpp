// The work unit is a piece of kGatedPiece columns of a row.
#include "genpipe/gated_activation.h"

namespace genpipe {
namespace {

// Calls piece(row, first, count) for the work units [begin, end).
template <class Piece>
GENPIPE_FN void for_each_stretch(int64_t begin, int64_t end, int64_t columns, Piece piece) {
  int64_t pieces = (columns + kGatedPiece - 1) / kGatedPiece;
  for (int64_t unit = begin; unit < end; ++unit) {
    int64_t first = unit % pieces * kGatedPiece;
    piece(unit / pieces, first, min(kGatedPiece, columns - first));
  }
}

template <class T>
GENPIPE_FN void forward(const GatedActivationArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for_each_stretch(begin, end, a.columns, [&](int64_t row, int64_t first, int64_t count) {
    int64_t at = 2 * row * a.columns + first;
    const T* x = static_cast<const T*>(a.x) + at;
    const T* x_b = x + a.columns;
    T* out = static_cast<T*>(a.out) + row * a.columns + first;
    if (a.addend == nullptr) {
      for (int64_t j = 0; j < count; ++j) store(out + j, gated(load(x + j), load(x_b + j)));
      return;
    }
    const T* addend = static_cast<const T*>(a.addend) + at;
    const T* addend_b = addend + a.columns;
    for (int64_t j = 0; j < count; ++j) {
      C value_a = load(x + j) + load(addend + j), value_b = load(x_b + j) + load(addend_b + j);
      store(out + j, gated(value_a, value_b));
    }
  });
}

template <class T>
GENPIPE_FN void backward(const GatedActivationBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  for_each_stretch(begin, end, a.columns, [&](int64_t row, int64_t first, int64_t count) {
    int64_t at = 2 * row * a.columns + first;
    const T* x = static_cast<const T*>(a.x) + at;
    const T* x_b = x + a.columns;
    const T* addend = a.addend == nullptr ? nullptr : static_cast<const T*>(a.addend) + at;
    const T* grad = static_cast<const T*>(a.grad) + row * a.columns + first;
    T* grad_a = static_cast<T*>(a.grad_x) + at;
    T* grad_b = grad_a + a.columns;
    auto one = [&](int64_t j, C value_a, C value_b) {
      C by_a, by_b;
      gated_backward(C(load(grad + j)), value_a, value_b, &by_a, &by_b);
      store(grad_a + j, by_a);
      store(grad_b + j, by_b);
    };
    if (addend == nullptr) {
      for (int64_t j = 0; j < count; ++j) one(j, load(x + j), load(x_b + j));
    } else {
      const T* addend_b = addend + a.columns;
      for (int64_t j = 0; j < count; ++j) one(j, load(x + j) + load(addend + j), load(x_b + j) + load(addend_b + j));
    }
  });
}

}  // namespace

namespace GENPIPE_VARIANT {

void gated_activation(const GatedActivationArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { forward<decltype(t)>(a, begin, end); });
}

void gated_activation_backward(const GatedActivationBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { backward<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
