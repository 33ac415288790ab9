#include "genpipe/gated_activation.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(gated_activation, GatedActivationArgs)
GENPIPE_DECLARE_KERNEL(gated_activation_backward, GatedActivationBackwardArgs)

namespace genpipe {
namespace {

// Fills in what both directions share; gives the addend, dense, where there is one.
template <class Args>
std::optional<Tensor> prepare(const char* op, const Tensor& x, const std::optional<Tensor>& addend, Args& args) {
  check_device(op, "x", x.device());
  args.dtype = check_floating(op, "x", x);
  check(x.dim() >= 2 && x.size(1) % 2 == 0, op, "x must have shape (B, 2 C, *event), got ", shape_text(x));
  args.rows = x.size(0);
  args.columns = columns_of(x) / 2;
  if (!addend.has_value()) return std::nullopt;
  check_alike(op, "addend", *addend, "x", x);
  return dense(*addend);
}

int64_t pieces(int64_t rows, int64_t columns) { return rows * ((columns + kGatedPiece - 1) / kGatedPiece); }

Tensor gated_activation(const Tensor& x, std::optional<Tensor> addend) {
  GatedActivationArgs args{};
  std::optional<Tensor> addend_c = prepare("gated_activation", x, addend, args);
  Tensor x_c = dense(x);
  std::vector<int64_t> shape(x.dim());
  for (int64_t d = 0; d < x.dim(); ++d) shape[d] = d == 1 ? x.size(1) / 2 : x.size(d);
  Tensor out = torch::stable::empty(shape, x.scalar_type(), std::nullopt, x.device());
  args.x = x_c.const_data_ptr();
  if (addend_c.has_value()) args.addend = addend_c->const_data_ptr();
  args.out = out.mutable_data_ptr();
  if (out.numel() == 0) return out;
  GENPIPE_LAUNCH(gated_activation, args, x.is_cuda(), x.get_device_index(), pieces(args.rows, args.columns),
                 1 + 4096 / args.columns);
  return out;
}

Tensor gated_activation_backward(const Tensor& grad, const Tensor& x, std::optional<Tensor> addend) {
  const char* op = "gated_activation_backward";
  GatedActivationBackwardArgs args{};
  std::optional<Tensor> addend_c = prepare(op, x, addend, args);
  check_same_device(op, "grad", grad, "x", x);
  check_same_dtype(op, "grad", grad, "x", x);
  check(grad.dim() == x.dim() && grad.numel() * 2 == x.numel() && grad.size(0) == x.size(0), op,
        "grad must have the shape of the output, half of x's channels ", shape_text(x), ", got ", shape_text(grad));
  Tensor x_c = dense(x), grad_c = dense(grad), grad_x = empty_contiguous(x);
  args.grad = grad_c.const_data_ptr();
  args.x = x_c.const_data_ptr();
  if (addend_c.has_value()) args.addend = addend_c->const_data_ptr();
  args.grad_x = grad_x.mutable_data_ptr();
  if (x.numel() == 0) return grad_x;
  GENPIPE_LAUNCH(gated_activation_backward, args, x.is_cuda(), x.get_device_index(), pieces(args.rows, args.columns),
                 1 + 4096 / args.columns);
  return grad_x;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("gated_activation(Tensor x, Tensor? addend) -> Tensor");
  m.def("gated_activation_backward(Tensor grad, Tensor x, Tensor? addend) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("gated_activation", TORCH_BOX(&genpipe::gated_activation));
  m.impl("gated_activation_backward", TORCH_BOX(&genpipe::gated_activation_backward));
}
