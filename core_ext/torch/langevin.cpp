#include "genpipe/langevin.h"

#include <math.h>

#include <limits>

#include "glue.h"

GENPIPE_DECLARE_KERNEL(langevin_step, LangevinStepArgs)

namespace genpipe {
namespace {

constexpr int64_t kGrain = 1024;  // blocks
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void step_into(const Tensor& x, const Tensor& grad_energy, const Tensor& key, double step_size, double noise_scale,
               std::optional<double> max_grad, std::optional<double> low, std::optional<double> high,
               int64_t first_index, Tensor& out) {
  const char* op = "langevin_step";
  check_device(op, "x", x.device());
  check_batched(op, "x", x);
  LangevinStepArgs args{};
  args.dtype = check_floating(op, "x", x);
  check_alike(op, "grad_energy", grad_energy, "x", x);
  check(step_size >= 0 && isfinite(step_size), op, "step_size must be finite and not negative, got ", step_size);
  check(noise_scale >= 0 && isfinite(noise_scale), op, "noise_scale must be finite and not negative, got ",
        noise_scale);
  args.step_size = step_size;
  args.noise_scale = noise_scale;
  args.max_grad = max_grad.value_or(kInfinity);
  args.low = low.value_or(-kInfinity);
  args.high = high.value_or(kInfinity);
  check(args.max_grad > 0, op, "max_grad must be positive, got ", args.max_grad);
  check(args.low <= args.high, op, "clamp must be a pair (low, high) with low <= high, got (", args.low, ", ",
        args.high, ")");
  KeyArgument checked = check_key(op, key, x.is_cuda(), x.get_device_index());
  args.rows = rows_of(x);
  args.columns = columns_of(x);
  check_counter(op, first_index, args.rows, args.columns);
  args.first_index = first_index;
  args.key = checked.value;
  args.device_key = checked.device;
  if (x.numel() == 0) return;
  Tensor x_c = dense(x), grad_c = dense(grad_energy);
  args.x = x_c.const_data_ptr();
  args.grad_energy = grad_c.const_data_ptr();
  args.out = out.mutable_data_ptr();
  GENPIPE_LAUNCH(langevin_step, args, x.is_cuda(), x.get_device_index(), args.rows * blocks_per_row(args.columns),
                 kGrain);
}

Tensor langevin_step(const Tensor& x, const Tensor& grad_energy, const Tensor& key, double step_size,
                     double noise_scale, std::optional<double> max_grad, std::optional<double> low,
                     std::optional<double> high, int64_t first_index) {
  Tensor out = empty_contiguous(x);
  step_into(x, grad_energy, key, step_size, noise_scale, max_grad, low, high, first_index, out);
  return out;
}

void langevin_step_out(const Tensor& x, const Tensor& grad_energy, const Tensor& key, double step_size,
                       double noise_scale, std::optional<double> max_grad, std::optional<double> low,
                       std::optional<double> high, int64_t first_index, Tensor out) {
  check_alike("langevin_step", "out", out, "x", x);
  check_contiguous("langevin_step", "out", out);
  step_into(x, grad_energy, key, step_size, noise_scale, max_grad, low, high, first_index, out);
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "langevin_step(Tensor x, Tensor grad_energy, Tensor key, float step_size, float noise_scale, float? max_grad, "
      "float? low, float? high, SymInt first_index) -> Tensor");
  m.def(
      "langevin_step_out(Tensor x, Tensor grad_energy, Tensor key, float step_size, float noise_scale, "
      "float? max_grad, float? low, float? high, SymInt first_index, Tensor(a!) out) -> ()");
}

GENPIPE_REGISTER(m) {
  m.impl("langevin_step", TORCH_BOX(&genpipe::langevin_step));
  m.impl("langevin_step_out", TORCH_BOX(&genpipe::langevin_step_out));
}
