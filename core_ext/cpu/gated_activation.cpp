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

// The halves of a stretch start `columns` apart. Plain pointers as arguments: through a capture, loops do not vectorise.
template <bool with_addend, class T>
GENPIPE_FN void backward_stretch(const T* __restrict grad, const T* __restrict x, const T* __restrict addend,
                                 T* __restrict grad_x, int64_t columns, int64_t count) {
  typedef compute_t<T> C;
  for (int64_t j = 0; j < count; ++j) {
    C a = load(x + j), b = load(x + columns + j), grad_a, grad_b;
    if (with_addend) a += load(addend + j), b += load(addend + columns + j);
    gated_backward(C(load(grad + j)), a, b, &grad_a, &grad_b);
    store(grad_x + j, grad_a);
    store(grad_x + columns + j, grad_b);
  }
}

template <class T>
GENPIPE_FN void backward(const GatedActivationBackwardArgs& a, int64_t begin, int64_t end) {
  for_each_stretch(begin, end, a.columns, [&](int64_t row, int64_t first, int64_t count) {
    int64_t at = 2 * row * a.columns + first;
    const T* grad = static_cast<const T*>(a.grad) + row * a.columns + first;
    const T* x = static_cast<const T*>(a.x) + at;
    T* grad_x = static_cast<T*>(a.grad_x) + at;
    if (a.addend == nullptr) {
      backward_stretch<false>(grad, x, static_cast<const T*>(nullptr), grad_x, a.columns, count);
    } else {
      backward_stretch<true>(grad, x, static_cast<const T*>(a.addend) + at, grad_x, a.columns, count);
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
