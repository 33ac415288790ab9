#include "genpipe/bernoulli_nll.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(bernoulli_nll, BernoulliNllArgs)
GENPIPE_DECLARE_KERNEL(bernoulli_nll_backward, BernoulliNllBackwardArgs)

namespace genpipe {
namespace {

template <class Args>
void prepare(const char* op, const Tensor& logits, const Tensor& x, Args& args) {
  check_device(op, "logits", logits.device());
  check_batched(op, "logits", logits);
  args.dtype = check_floating(op, "logits", logits);
  check_alike(op, "x", x, "logits", logits);
  args.rows = rows_of(logits);
  args.columns = columns_of(logits);
}

Tensor launch_forward(BernoulliNllArgs& args, const Tensor& logits, const Tensor& x) {
  Tensor logits_c = dense(logits), x_c = dense(x), nll = empty_rows(logits);
  args.logits = logits_c.const_data_ptr();
  args.x = x_c.const_data_ptr();
  args.nll = nll.mutable_data_ptr();
  if (args.rows == 0) return nll;
  GENPIPE_LAUNCH_ROWS(bernoulli_nll, args, logits);
  return nll;
}

Tensor bernoulli_nll(const Tensor& logits, const Tensor& x) {
  BernoulliNllArgs args{};
  prepare("bernoulli_nll", logits, x, args);
  return launch_forward(args, logits, x);
}

std::tuple<Tensor, Tensor> bernoulli_nll_with_slope(const Tensor& logits, const Tensor& x, double scale) {
  BernoulliNllArgs args{};
  prepare("bernoulli_nll", logits, x, args);
  Tensor slope = empty_in_compute_precision(logits);
  args.slope = slope.mutable_data_ptr();
  args.scale = scale;
  return {launch_forward(args, logits, x), slope};
}

Tensor bernoulli_nll_backward(const Tensor& grad, const Tensor& logits, const Tensor& x) {
  BernoulliNllBackwardArgs args{};
  prepare("bernoulli_nll_backward", logits, x, args);
  check_row_gradient("bernoulli_nll_backward", "grad", grad, logits);
  Tensor logits_c = dense(logits), x_c = dense(x);
  Tensor grad_logits = empty_contiguous(logits);
  args.grad = grad.const_data_ptr();
  args.grad_stride = grad.stride(0);
  args.logits = logits_c.const_data_ptr();
  args.x = x_c.const_data_ptr();
  args.grad_logits = grad_logits.mutable_data_ptr();
  if (logits.numel() == 0) return grad_logits;
  GENPIPE_LAUNCH_ROWS(bernoulli_nll_backward, args, logits);
  return grad_logits;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("bernoulli_nll(Tensor logits, Tensor x) -> Tensor");
  m.def("bernoulli_nll_with_slope(Tensor logits, Tensor x, float scale=1.0) -> (Tensor, Tensor)");
  m.def("bernoulli_nll_backward(Tensor grad, Tensor logits, Tensor x) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("bernoulli_nll", TORCH_BOX(&genpipe::bernoulli_nll));
  m.impl("bernoulli_nll_with_slope", TORCH_BOX(&genpipe::bernoulli_nll_with_slope));
  m.impl("bernoulli_nll_backward", TORCH_BOX(&genpipe::bernoulli_nll_backward));
}
