#include "genpipe/masked_conv.h"

#include "../cuda/masked_conv_tiles.h"
#include "glue.h"

GENPIPE_DECLARE_KERNEL(masked_conv_pack, MaskedConvArgs)
GENPIPE_DECLARE_KERNEL(masked_conv, MaskedConvArgs)
GENPIPE_DECLARE_KERNEL(masked_conv_weight, MaskedConvWeightArgs)
GENPIPE_DECLARE_KERNEL(masked_conv_weight_sum, MaskedConvWeightArgs)

namespace genpipe {
namespace {

void check_images(const char* op, const char* name, const Tensor& x) {
  check(x.dim() == 4, op, name, " must have shape (B, C, H, W), got ", shape_text(x));
  check(x.size(1) > 0 && x.size(2) > 0 && x.size(3) > 0, op, name, " must have channels and pixels, got ",
        shape_text(x));
}

// The mask, from a kernel of shape.kernel_height by shape.kernel_width.
ConvMask check_mask(const char* op, int64_t mask_type, int64_t groups, const ConvShape& shape) {
  check(shape.kernel_height % 2 == 1 && shape.kernel_width % 2 == 1, op, "weight must have an odd kernel, got ",
        shape.kernel_height, " by ", shape.kernel_width);
  check(mask_type >= 0 && mask_type <= int64_t(MaskType::vertical_b), op, "mask_type must be 0 to 3, got ", mask_type);
  check(groups >= 1 && shape.in_channels % groups == 0 && shape.out_channels % groups == 0, op,
        "channel_groups must divide the channels, ", shape.in_channels, " in and ", shape.out_channels, " out, got ",
        groups);
  // Offsets stay far within 64 bits; a tap that reaches past the image is skipped, whatever its distance.
  check(shape.dilation >= 1 && shape.dilation <= INT32_MAX, op, "dilation must be 1 or more, got ", shape.dilation);
  return conv_mask(MaskType(mask_type), groups, shape);
}

ScalarType compute_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

Tensor workspace(int64_t numbers, ScalarType type, const Tensor& beside) {
  return torch::stable::empty({numbers}, type, std::nullopt, beside.device());
}

template <class Args>
void in_parallel(void (*kernel)(const Args&, int64_t, int64_t), const Args& args, int64_t units, int64_t grain) {
  torch::stable::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

// x: what is convolved, the input or, transposed, the gradient towards the output.
Tensor convolve(const char* op, const char* name, const Tensor& x, const Tensor& weight,
                const std::optional<Tensor>& bias, bool transposed, int64_t mask_type, int64_t groups,
                int64_t dilation) {
  check_device(op, name, x.device());
  check_images(op, name, x);
  MaskedConvArgs args{};
  args.dtype = check_floating(op, name, x);
  check_same_device(op, "weight", weight, name, x);
  check_same_dtype(op, "weight", weight, name, x);
  check(weight.dim() == 4 && weight.size(0) > 0, op, "weight must have shape (C_out, C_in, kh, kw), got ",
        shape_text(weight));
  check(weight.size(transposed ? 0 : 1) == x.size(1), op, "weight must have ", x.size(1), " ",
        transposed ? "output" : "input", " channels, as ", name, " has, got ", shape_text(weight));
  args.transposed = transposed;
  args.shape = {x.size(0),      weight.size(1), weight.size(0), x.size(2), x.size(3),
                weight.size(2), weight.size(3), dilation};
  args.mask = check_mask(op, mask_type, groups, args.shape);
  Tensor x_c = dense(x), weight_c = dense(weight), bias_c;
  if (bias.has_value()) {
    check_same_device(op, "bias", *bias, name, x);
    check_same_dtype(op, "bias", *bias, name, x);
    check(bias->dim() == 1 && bias->size(0) == weight.size(0), op, "bias must have shape (", weight.size(0),
          ",), got ", shape_text(*bias));
    bias_c = dense(*bias);
    args.bias = bias_c.const_data_ptr();
  }
  int64_t targets = transposed ? weight.size(1) : weight.size(0);
  Tensor out = torch::stable::empty({x.size(0), targets, x.size(2), x.size(3)}, x.scalar_type(), std::nullopt, x.device());
  args.x = x_c.const_data_ptr();
  args.weight = weight_c.const_data_ptr();
  args.out = out.mutable_data_ptr();
  if (out.numel() == 0) return out;
  if (runs_on_cuda(x)) {
    args.strip_rows = args.shape.height;
    Tensor panels = workspace(cuda::conv_panel_weights(args), x.scalar_type(), x);
    args.panels = panels.mutable_data_ptr();
    GENPIPE_LAUNCH(masked_conv, args, true, x.get_device_index(), 0, 1);
    return out;
  }
  int64_t threads = torch::stable::get_num_threads();
  args.strip_rows = conv_strip_rows(args.shape, x.size(1), ceil_div(2 * threads, args.shape.batch));
  ConvPlan plan = conv_plan(args);
  args.tasks = min(threads, plan.units);
  ScalarType computed = compute_type(x);
  Tensor panels = workspace(conv_panel_numbers(args), computed, x);
  Tensor scratch = workspace(args.tasks * conv_scratch_numbers(args), computed, x);
  args.panels = panels.mutable_data_ptr();
  args.scratch = scratch.mutable_data_ptr();
  in_parallel(masked_conv_pack_cpu(), args, plan.blocks,
              1 + 65536 / (1 + plan.sources * args.mask.taps * kBlock));
  in_parallel(masked_conv_cpu(), args, args.tasks, 1);
  return out;
}

Tensor masked_conv2d(const Tensor& x, const Tensor& weight, std::optional<Tensor> bias, int64_t mask_type,
                     int64_t channel_groups, int64_t dilation) {
  return convolve("masked_conv2d", "x", x, weight, bias, false, mask_type, channel_groups, dilation);
}

Tensor masked_conv2d_input_backward(const Tensor& grad, const Tensor& weight, int64_t mask_type,
                                    int64_t channel_groups, int64_t dilation) {
  return convolve("masked_conv2d_input_backward", "grad", grad, weight, std::nullopt, true, mask_type, channel_groups,
                  dilation);
}

std::tuple<Tensor, Tensor> masked_conv2d_weight_backward(const Tensor& grad, const Tensor& x, int64_t kernel_height,
                                                         int64_t kernel_width, int64_t mask_type,
                                                         int64_t channel_groups, int64_t dilation) {
  const char* op = "masked_conv2d_weight_backward";
  check_device(op, "grad", grad.device());
  check_images(op, "grad", grad);
  check_images(op, "x", x);
  MaskedConvWeightArgs args{};
  args.dtype = check_floating(op, "grad", grad);
  check_same_device(op, "x", x, "grad", grad);
  check_same_dtype(op, "x", x, "grad", grad);
  check(x.size(0) == grad.size(0) && x.size(2) == grad.size(2) && x.size(3) == grad.size(3), op,
        "x must have grad's batch and pixels ", shape_text(grad), ", got ", shape_text(x));
  ConvShape& shape = args.shape;
  shape = {x.size(0), x.size(1), grad.size(1), x.size(2), x.size(3), kernel_height, kernel_width, dilation};
  args.mask = check_mask(op, mask_type, channel_groups, shape);
  Tensor x_c = dense(x), grad_c = dense(grad);
  Tensor grad_weight = torch::stable::empty({shape.out_channels, shape.in_channels, kernel_height, kernel_width},
                                            x.scalar_type(), std::nullopt, x.device());
  Tensor grad_bias = torch::stable::empty({shape.out_channels}, x.scalar_type(), std::nullopt, x.device());
  args.x = x_c.const_data_ptr();
  args.grad = grad_c.const_data_ptr();
  args.grad_weight = grad_weight.mutable_data_ptr();
  args.grad_bias = grad_bias.mutable_data_ptr();
  if (runs_on_cuda(x)) {
    args.parts = cuda::conv_weight_parts(args);
    Tensor partials = workspace(cuda::conv_partial_numbers(args), ScalarType::Float, x);
    args.partials = partials.mutable_data_ptr();
    GENPIPE_LAUNCH(masked_conv_weight, args, true, x.get_device_index(), 0, 1);
    return {grad_weight, grad_bias};
  }
  args.strip_rows = conv_weight_strip_rows(shape);
  args.parts = conv_weight_parts(args);
  args.tasks = min(torch::stable::get_num_threads(), args.parts * conv_weight_plan(args).slabs);
  ScalarType computed = compute_type(x);
  Tensor partials = workspace(conv_partial_numbers(args), computed, x);
  Tensor scratch = workspace(args.tasks * conv_weight_scratch_numbers(args), computed, x);
  args.partials = partials.mutable_data_ptr();
  args.scratch = scratch.mutable_data_ptr();
  in_parallel(masked_conv_weight_cpu(), args, args.tasks, 1);
  in_parallel(masked_conv_weight_sum_cpu(), args, shape.in_channels + 1, 1);
  return {grad_weight, grad_bias};
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "masked_conv2d(Tensor x, Tensor weight, Tensor? bias, int mask_type, int channel_groups, int dilation) -> "
      "Tensor");
  m.def(
      "masked_conv2d_input_backward(Tensor grad, Tensor weight, int mask_type, int channel_groups, int dilation) -> "
      "Tensor");
  m.def(
      "masked_conv2d_weight_backward(Tensor grad, Tensor x, SymInt kernel_height, SymInt kernel_width, int mask_type, "
      "int channel_groups, int dilation) -> (Tensor, Tensor)");
}

GENPIPE_REGISTER(m) {
  m.impl("masked_conv2d", TORCH_BOX(&genpipe::masked_conv2d));
  m.impl("masked_conv2d_input_backward", TORCH_BOX(&genpipe::masked_conv2d_input_backward));
  m.impl("masked_conv2d_weight_backward", TORCH_BOX(&genpipe::masked_conv2d_weight_backward));
}
