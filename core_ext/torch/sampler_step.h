// What the ops on a sampler's x and prediction check.
#pragma once

#include "genpipe/sampler_step.h"
#include "glue.h"

namespace genpipe {

// The arguments that make x_0, and the tensors that they point into.
struct DenoisingArgument {
  DenoisingArgs args;
  Tensor x, prediction, coefficients;
  std::optional<Tensor> unconditional;
};
DenoisingArgument check_denoising(const char* op, const Tensor& x, const Tensor& prediction,
                                  const Tensor& coefficients, const std::optional<Tensor>& unconditional);

}  // namespace genpipe
