// What the ops that stand on a noise schedule check of it.
#pragma once

#include "genpipe/noise_level.h"
#include "glue.h"

namespace genpipe {

// The levels of x0's rows, and the tensors that they point into.
struct LevelArgument {
  NoiseLevels levels;
  Tensor schedule;
  std::optional<Tensor> t;
};

// On CUDA the kernels look at the values of t and of the schedule: looking from here would wait for the device.
LevelArgument check_levels(const char* op, const Tensor& x0, const std::optional<Tensor>& t, const Tensor& schedule);

Prediction check_prediction(const char* op, const std::string& name);

// Where the noise comes from: a tensor as x0, or a key.
struct NoiseArgument {
  std::optional<Tensor> given;
  KeyArgument key;

  const void* data() const { return given.has_value() ? given->const_data_ptr() : nullptr; }
};
NoiseArgument check_noise(const char* op, const char* name, const Tensor& x0, const std::optional<Tensor>& noise,
                          const std::optional<Tensor>& key, int64_t first_index);

}  // namespace genpipe
