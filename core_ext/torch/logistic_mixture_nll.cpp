#include "genpipe/logistic_mixture.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(logistic_mixture_nll, LogisticMixtureNllArgs)

namespace genpipe {
namespace {

const char* kOp = "discretized_logistic_mixture_nll";

Levels check_levels(const Tensor& x, const Tensor& params) {
  if (x.scalar_type() == ScalarType::Byte) return Levels::u8;
  if (x.scalar_type() == ScalarType::Long) return Levels::i64;
  check(x.scalar_type() == params.scalar_type(), kOp, "x must be uint8, int64 or of the dtype of params (",
        dtype_name(params.scalar_type()), "), got ", dtype_name(x.scalar_type()));
  return Levels::values;
}

LogisticMixtureNllArgs prepare(const Tensor& params, const Tensor& x, int64_t levels) {
  LogisticMixtureNllArgs args{};
  check_device(kOp, "params", params.device());
  args.dtype = check_floating(kOp, "params", params);
  check_same_device(kOp, "x", x, "params", params);
  args.x_levels = check_levels(x, params);
  check(levels >= 2 && levels <= 65536, kOp, "levels must be 2 to 65536, got ", levels);
  check(x.dim() >= 2 && (x.size(1) == 1 || x.size(1) == 3), kOp,
        "x must have shape (B, C, *event) with C = 1 or 3 channels, got ", shape_text(x));
  bool alike = params.dim() == x.dim() && params.size(0) == x.size(0);
  for (int64_t d = 2; alike && d < x.dim(); ++d) alike = params.size(d) == x.size(d);
  int64_t maps = x.size(1) == 1 ? LogisticMaps<1>::kMaps : LogisticMaps<3>::kMaps;
  check(alike && params.size(1) > 0 && params.size(1) % maps == 0, kOp, "params must have shape (B, ", maps,
        " components, *event) for x of shape ", shape_text(x), ", got ", shape_text(params));
  args.rows = rows_of(x);
  args.channels = x.size(1);
  args.pixels = columns_of(x) / args.channels;
  args.components = params.size(1) / maps;
  args.levels = levels;
  args.scale = 1;
  check(args.components <= kMaxComponents, kOp, "params must have at most ", kMaxComponents, " components, got ",
        args.components);
  return args;
}

// On CUDA the kernel checks: looking from here would wait for the device.
template <class Level>
void check_range(const Tensor& x, int64_t levels) {
  const Level* data = static_cast<const Level*>(x.const_data_ptr());
  for (int64_t i = 0, count = x.numel(); i < count; ++i) {
    check(int64_t(data[i]) >= 0 && int64_t(data[i]) < levels, kOp, "x has the level ", int64_t(data[i]),
          ", outside of 0 to ", levels - 1);
  }
}

void launch(LogisticMixtureNllArgs& args, const Tensor& params, const Tensor& x) {
  Tensor params_c = dense(params), x_c = dense(x);
  args.params = params_c.const_data_ptr();
  args.x = x_c.const_data_ptr();
  if (args.rows == 0) return;
  if (x.is_cpu() && args.x_levels == Levels::u8 && args.levels < 256) check_range<uint8_t>(x_c, args.levels);
  if (x.is_cpu() && args.x_levels == Levels::i64) check_range<int64_t>(x_c, args.levels);
  Tensor pixel_nll;
  if (runs_on_cuda(x) && args.nll != nullptr) {
    ScalarType precision = args.dtype == DType::f64 ? ScalarType::Double : ScalarType::Float;
    pixel_nll = torch::stable::empty({args.rows, args.pixels}, precision, std::nullopt, x.device());
    args.pixel_nll = pixel_nll.mutable_data_ptr();
  }
  GENPIPE_LAUNCH(logistic_mixture_nll, args, x.is_cuda(), x.get_device_index(), args.rows, 1);
}

Tensor discretized_logistic_mixture_nll(const Tensor& params, const Tensor& x, int64_t levels) {
  LogisticMixtureNllArgs args = prepare(params, x, levels);
  Tensor nll = empty_rows(params);
  args.nll = nll.mutable_data_ptr();
  launch(args, params, x);
  return nll;
}

std::tuple<Tensor, Tensor> discretized_logistic_mixture_nll_with_slope(const Tensor& params, const Tensor& x,
                                                                       int64_t levels, double scale) {
  LogisticMixtureNllArgs args = prepare(params, x, levels);
  Tensor nll = empty_rows(params), slope = empty_in_compute_precision(params);
  args.nll = nll.mutable_data_ptr();
  args.slope = slope.mutable_data_ptr();
  args.scale = scale;
  launch(args, params, x);
  return {nll, slope};
}

Tensor discretized_logistic_mixture_nll_backward(const Tensor& grad, const Tensor& params, const Tensor& x,
                                                 int64_t levels) {
  LogisticMixtureNllArgs args = prepare(params, x, levels);
  check_row_gradient("discretized_logistic_mixture_nll_backward", "grad", grad, params);
  Tensor grad_params = empty_contiguous(params);
  args.grad = grad.const_data_ptr();
  args.grad_stride = grad.stride(0);
  args.grad_params = grad_params.mutable_data_ptr();
  launch(args, params, x);
  return grad_params;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("discretized_logistic_mixture_nll(Tensor params, Tensor x, SymInt levels) -> Tensor");
  m.def(
      "discretized_logistic_mixture_nll_with_slope(Tensor params, Tensor x, SymInt levels, float scale) -> "
      "(Tensor, Tensor)");
  m.def("discretized_logistic_mixture_nll_backward(Tensor grad, Tensor params, Tensor x, SymInt levels) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("discretized_logistic_mixture_nll", TORCH_BOX(&genpipe::discretized_logistic_mixture_nll));
  m.impl("discretized_logistic_mixture_nll_with_slope", TORCH_BOX(&genpipe::discretized_logistic_mixture_nll_with_slope));
  m.impl("discretized_logistic_mixture_nll_backward", TORCH_BOX(&genpipe::discretized_logistic_mixture_nll_backward));
}
