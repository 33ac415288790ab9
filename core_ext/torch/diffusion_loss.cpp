#include "genpipe/diffusion_loss.h"

#include "noise_level.h"

GENPIPE_DECLARE_KERNEL(diffusion_loss, DiffusionLossArgs)
GENPIPE_DECLARE_KERNEL(diffusion_loss_backward, DiffusionLossBackwardArgs)

namespace genpipe {
namespace {

// The arguments of both ops, and the tensors that they point into.
struct Prepared {
  DiffusionLossArgs args;
  LevelArgument levels;
  NoiseArgument noise;
  Tensor prediction, x0;
  std::optional<Tensor> weights;
};

Prepared prepare(const char* op, const Tensor& prediction, const Tensor& x0, const std::optional<Tensor>& t,
                 const Tensor& schedule, const std::optional<Tensor>& weights, const std::optional<Tensor>& noise,
                 const std::optional<Tensor>& key, int64_t first_index, const std::string& prediction_type) {
  check_device(op, "prediction", prediction.device());
  check_batched(op, "prediction", prediction);
  DType dtype = check_floating(op, "prediction", prediction);
  check_alike(op, "x0", x0, "prediction", prediction);
  Prediction target = check_prediction(op, prediction_type);
  Prepared p{{}, check_levels(op, x0, t, schedule), check_noise(op, "x0", x0, noise, key, first_index),
             dense(prediction), dense(x0), weights};
  DiffusionLossArgs& args = p.args;
  args.dtype = dtype;
  args.target = target;
  args.rows = rows_of(x0);
  args.columns = columns_of(x0);
  args.first_index = first_index;
  args.levels = p.levels.levels;
  args.noise = p.noise.data();
  args.key = p.noise.key.value;
  args.device_key = p.noise.key.device;
  args.prediction = p.prediction.const_data_ptr();
  args.x0 = p.x0.const_data_ptr();
  if (weights.has_value()) {
    check_same_device(op, "weights", *weights, "prediction", prediction);
    args.weights_are_double = weights->scalar_type() == ScalarType::Double;
    check(args.weights_are_double || weights->scalar_type() == ScalarType::Float, op,
          "weights must be float64 or float32, got ", dtype_name(weights->scalar_type()));
    check(weights->dim() == 1 && weights->size(0) == args.levels.num_levels, op,
          "weights must have shape (T,) with the schedule's T = ", args.levels.num_levels, ", got ",
          shape_text(*weights));
    p.weights = dense(*weights);
    args.weights = p.weights->const_data_ptr();
    for (int64_t row = 0; x0.is_cpu() && row < args.rows; ++row) {
      double weight = loss_weight(args, row);
      check(weight - weight == 0.0, op, "weights[", level_of(args.levels, row), "] = ", weight, " is not finite");
    }
  }
  return p;
}

Tensor launch_forward(DiffusionLossArgs& args, const Tensor& x0) {
  Tensor loss = empty_rows(x0);
  args.loss = loss.mutable_data_ptr();
  if (args.rows == 0) return loss;
  GENPIPE_LAUNCH_ROWS(diffusion_loss, args, x0);
  return loss;
}

Tensor diffusion_loss(const Tensor& prediction, const Tensor& x0, std::optional<Tensor> t, const Tensor& schedule,
                      std::optional<Tensor> weights, std::optional<Tensor> noise, std::optional<Tensor> key,
                      int64_t first_index, std::string prediction_type) {
  Prepared p = prepare("diffusion_loss", prediction, x0, t, schedule, weights, noise, key, first_index,
                       prediction_type);
  return launch_forward(p.args, x0);
}

std::tuple<Tensor, Tensor> diffusion_loss_with_slope(const Tensor& prediction, const Tensor& x0,
                                                     std::optional<Tensor> t, const Tensor& schedule,
                                                     std::optional<Tensor> weights, std::optional<Tensor> noise,
                                                     std::optional<Tensor> key, int64_t first_index,
                                                     std::string prediction_type) {
  Prepared p = prepare("diffusion_loss", prediction, x0, t, schedule, weights, noise, key, first_index,
                       prediction_type);
  Tensor slope = empty_in_compute_precision(x0);
  p.args.slope = slope.mutable_data_ptr();
  return {launch_forward(p.args, x0), slope};
}

Tensor diffusion_loss_backward(const Tensor& grad, const Tensor& prediction, const Tensor& x0, std::optional<Tensor> t,
                               const Tensor& schedule, std::optional<Tensor> weights, std::optional<Tensor> noise,
                               std::optional<Tensor> key, int64_t first_index, std::string prediction_type) {
  const char* op = "diffusion_loss_backward";
  Prepared p = prepare(op, prediction, x0, t, schedule, weights, noise, key, first_index, prediction_type);
  check_row_gradient(op, "grad", grad, prediction);
  Tensor grad_prediction = empty_contiguous(prediction);
  DiffusionLossBackwardArgs args{p.args, grad.const_data_ptr(), grad.stride(0), grad_prediction.mutable_data_ptr()};
  if (prediction.numel() == 0) return grad_prediction;
  GENPIPE_LAUNCH(diffusion_loss_backward, args, x0.is_cuda(), x0.get_device_index(), args.forward.rows,
                 row_grain(args.forward.columns));
  return grad_prediction;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "diffusion_loss(Tensor prediction, Tensor x0, Tensor? t, Tensor schedule, Tensor? weights, Tensor? noise, "
      "Tensor? key, SymInt first_index, str prediction_type) -> Tensor");
  m.def(
      "diffusion_loss_with_slope(Tensor prediction, Tensor x0, Tensor? t, Tensor schedule, Tensor? weights, "
      "Tensor? noise, Tensor? key, SymInt first_index, str prediction_type) -> (Tensor, Tensor)");
  m.def(
      "diffusion_loss_backward(Tensor grad, Tensor prediction, Tensor x0, Tensor? t, Tensor schedule, "
      "Tensor? weights, Tensor? noise, Tensor? key, SymInt first_index, str prediction_type) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("diffusion_loss", TORCH_BOX(&genpipe::diffusion_loss));
  m.impl("diffusion_loss_with_slope", TORCH_BOX(&genpipe::diffusion_loss_with_slope));
  m.impl("diffusion_loss_backward", TORCH_BOX(&genpipe::diffusion_loss_backward));
}
