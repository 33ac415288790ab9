#include "genpipe/dynamic_threshold.h"

#include <math.h>

#include "sampler_step.h"

GENPIPE_DECLARE_KERNEL(dynamic_threshold, DynamicThresholdArgs)

namespace genpipe {
namespace {

Tensor dynamic_threshold(const Tensor& x, const Tensor& prediction, const Tensor& coefficients,
                         std::optional<Tensor> unconditional, double ratio, double maximum) {
  const char* op = "dynamic_threshold";
  DenoisingArgument denoising = check_denoising(op, x, prediction, coefficients, unconditional);
  DynamicThresholdArgs args{denoising.args, ratio, maximum, nullptr};
  const DenoisingArgs& d = args.denoising;
  check(ratio >= 0 && ratio <= 1, op, "ratio must be in [0, 1], got ", ratio);
  check(d.device_coefficients != nullptr || isfinite(d.coefficients.clip), op,
        "a finite clip, coefficients[7], must be given, got ", d.coefficients.clip);
  check(maximum > 0, op, "maximum must be positive, got ", maximum);
  check(d.columns > 0 || d.rows == 0, op, "x must have elements in each sample, got shape ", shape_text(x));
  Tensor out = empty_rows(x);
  args.out = out.mutable_data_ptr();
  if (d.rows == 0) return out;
  GENPIPE_LAUNCH(dynamic_threshold, args, x.is_cuda(), x.get_device_index(), d.rows, row_grain(d.columns));
  return out;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "dynamic_threshold(Tensor x, Tensor prediction, Tensor coefficients, Tensor? unconditional, float ratio, "
      "float maximum) -> Tensor");
}

GENPIPE_REGISTER(m) { m.impl("dynamic_threshold", TORCH_BOX(&genpipe::dynamic_threshold)); }
