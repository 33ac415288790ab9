#include "sampler_step.h"

#include <math.h>
#include <string.h>

GENPIPE_DECLARE_KERNEL(sampler_step, SamplerStepArgs)

namespace genpipe {

DenoisingArgument check_denoising(const char* op, const Tensor& x, const Tensor& prediction,
                                  const Tensor& coefficients, const std::optional<Tensor>& unconditional) {
  check_device(op, "x", x.device());
  check_batched(op, "x", x);
  DType dtype = check_floating(op, "x", x);
  check_alike(op, "prediction", prediction, "x", x);
  check_dtype(op, "coefficients", coefficients, ScalarType::Double);
  check(coefficients.dim() == 1 && coefficients.size(0) == kNumStepCoefficients, op, "coefficients must have shape (",
        kNumStepCoefficients, ",), as ops.samplers gives, got ", shape_text(coefficients));
  DenoisingArgument d{{}, dense(x), dense(prediction), dense(coefficients), std::nullopt};
  DenoisingArgs& args = d.args;
  args.dtype = dtype;
  args.rows = rows_of(x);
  args.columns = columns_of(x);
  args.x = d.x.const_data_ptr();
  args.prediction = d.prediction.const_data_ptr();
  if (unconditional.has_value()) {
    check_alike(op, "unconditional", *unconditional, "x", x);
    d.unconditional = dense(*unconditional);
    args.unconditional = d.unconditional->const_data_ptr();
  }
  if (!coefficients.is_cpu()) {  // read by the kernel, so that a captured graph can change them
    check_same_device(op, "coefficients", coefficients, "x", x);
    args.device_coefficients = static_cast<const StepCoefficients*>(d.coefficients.const_data_ptr());
    return d;
  }
  memcpy(&args.coefficients, d.coefficients.const_data_ptr(), sizeof(StepCoefficients));
  const StepCoefficients& k = args.coefficients;
  const double values[] = {k.denoise_x,     k.denoise_prediction, k.x_share, k.x0_share,
                           k.history_share, k.noise_share,        k.guidance};
  const char* names[] = {"denoise_x", "denoise_prediction", "x", "x0", "history", "noise", "guidance_scale"};
  for (int i = 0; i < kNumStepCoefficients - 1; ++i) {
    check(isfinite(values[i]), op, "coefficients[", i, "], ", names[i], ", must be finite, got ", values[i]);
  }
  check(k.clip > 0, op, "coefficients[7], clip, must be positive, got ", k.clip);
  check(unconditional.has_value() || k.guidance == 1, op, "unconditional must be given for guidance_scale ",
        k.guidance);
  return d;
}

namespace {

constexpr int64_t kGrain = 1024, kGrainWithoutNoise = 8192;  // blocks

// Fills out, and x0_out where it is wanted.
void step_into(const char* op, const Tensor& x, const Tensor& prediction, const Tensor& coefficients,
               const std::optional<Tensor>& unconditional, const std::optional<Tensor>& history,
               const std::optional<Tensor>& threshold, const std::optional<Tensor>& noise,
               const std::optional<Tensor>& key, int64_t first_index, Tensor& out, std::optional<Tensor>& x0_out) {
  DenoisingArgument denoising = check_denoising(op, x, prediction, coefficients, unconditional);
  SamplerStepArgs args{};
  args.denoising = denoising.args;
  DenoisingArgs& d = args.denoising;
  bool known = d.device_coefficients == nullptr;
  std::optional<Tensor> history_c, noise_c, threshold_c;
  if (history.has_value()) check_alike(op, "history", *history, "x", x);
  check(history.has_value() || !known || d.coefficients.history_share == 0, op,
        "history must be given for coefficients[4], history, of ", d.coefficients.history_share);
  if (history.has_value() && (!known || d.coefficients.history_share != 0)) {
    history_c = dense(*history);
    args.history = history_c->const_data_ptr();
  }
  check(!(noise.has_value() && key.has_value()), op, "give noise or key, not both");
  check(noise.has_value() || key.has_value() || !known || d.coefficients.noise_share == 0, op,
        "noise or key must be given for coefficients[5], noise, of ", d.coefficients.noise_share);
  if (noise.has_value()) check_alike(op, "noise", *noise, "x", x);
  if (key.has_value()) {
    KeyArgument checked = check_key(op, *key, x.is_cuda(), x.get_device_index());
    check_counter(op, first_index, d.rows, d.columns);
    args.key = checked.value;
    args.device_key = checked.device;
    args.first_index = first_index;
  }
  bool noisy = !known || d.coefficients.noise_share != 0;
  args.has_key = noisy && key.has_value();
  if (noisy && noise.has_value()) {
    noise_c = dense(*noise);
    args.noise = noise_c->const_data_ptr();
  }
  if (threshold.has_value()) {
    check_row_gradient(op, "threshold", *threshold, x);
    check(!known || isfinite(d.coefficients.clip), op, "threshold needs a finite clip, coefficients[7], got ",
          d.coefficients.clip);
    threshold_c = dense(*threshold);
    args.threshold = threshold_c->const_data_ptr();
  }
  if (x.numel() == 0) return;
  args.out = out.mutable_data_ptr();
  args.x0_out = x0_out.has_value() ? x0_out->mutable_data_ptr() : nullptr;
  if (!args.has_key && args.threshold == nullptr) {  // nothing asks where a sample ends
    d.columns *= d.rows;
    d.rows = 1;
  }
  GENPIPE_LAUNCH(sampler_step, args, x.is_cuda(), x.get_device_index(), d.rows * blocks_per_row(d.columns),
                 args.has_key ? kGrain : kGrainWithoutNoise);
}

Tensor sampler_step(const Tensor& x, const Tensor& prediction, const Tensor& coefficients,
                    std::optional<Tensor> unconditional, std::optional<Tensor> history, std::optional<Tensor> threshold,
                    std::optional<Tensor> noise, std::optional<Tensor> key, int64_t first_index) {
  Tensor out = empty_contiguous(x);
  std::optional<Tensor> none;
  step_into("sampler_step", x, prediction, coefficients, unconditional, history, threshold, noise, key, first_index,
            out, none);
  return out;
}

void sampler_step_out(const Tensor& x, const Tensor& prediction, const Tensor& coefficients,
                      std::optional<Tensor> unconditional, std::optional<Tensor> history,
                      std::optional<Tensor> threshold, std::optional<Tensor> noise, std::optional<Tensor> key,
                      int64_t first_index, Tensor out, std::optional<Tensor> x0_out) {
  const char* op = "sampler_step";
  check_alike(op, "out", out, "x", x);
  check_contiguous(op, "out", out);
  if (x0_out.has_value()) {
    check_alike(op, "x0_out", *x0_out, "x", x);
    check_contiguous(op, "x0_out", *x0_out);
  }
  step_into(op, x, prediction, coefficients, unconditional, history, threshold, noise, key, first_index, out, x0_out);
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "sampler_step(Tensor x, Tensor prediction, Tensor coefficients, Tensor? unconditional, Tensor? history, "
      "Tensor? threshold, Tensor? noise, Tensor? key, SymInt first_index) -> Tensor");
  m.def(
      "sampler_step_out(Tensor x, Tensor prediction, Tensor coefficients, Tensor? unconditional, Tensor? history, "
      "Tensor? threshold, Tensor? noise, Tensor? key, SymInt first_index, Tensor(a!) out, Tensor(b!)? x0_out) -> ()");
}

GENPIPE_REGISTER(m) {
  m.impl("sampler_step", TORCH_BOX(&genpipe::sampler_step));
  m.impl("sampler_step_out", TORCH_BOX(&genpipe::sampler_step_out));
}
