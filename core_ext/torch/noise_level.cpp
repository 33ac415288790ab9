#include "noise_level.h"

namespace genpipe {
namespace {

// Each row's level is there, and the process is defined at it.
void check_rows(const char* op, const NoiseLevels& levels, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    int64_t level = level_of(levels, row);
    check(level >= 0 && level < levels.num_levels, op, "t[", row, "] = ", level,
          " is outside of the schedule's levels, 0 to ", levels.num_levels - 1);
    if (is_a_level(levels, level)) continue;
    check(levels.is_pairs, op, "schedule[", level, "] = ", level_value(levels, level),
          " is not an alpha_bar, which lies in [0, 1]");
    fail(op, "schedule[", level, "] = (", level_value(levels, 2 * level), ", ", level_value(levels, 2 * level + 1),
         ") is not a finite alpha and a finite sigma of at least 0");
  }
}

}  // namespace

LevelArgument check_levels(const char* op, const Tensor& x0, const std::optional<Tensor>& t, const Tensor& schedule) {
  LevelArgument argument{{}, schedule, t};
  NoiseLevels& levels = argument.levels;
  check_same_device(op, "schedule", schedule, "x0", x0);
  levels.is_double = schedule.scalar_type() == ScalarType::Double;
  check(levels.is_double || schedule.scalar_type() == ScalarType::Float, op,
        "schedule must be float64 or float32, got ", dtype_name(schedule.scalar_type()));
  levels.is_pairs = schedule.dim() == 2;
  check(schedule.dim() == 1 || (levels.is_pairs && schedule.size(1) == 2), op,
        "schedule must have shape (T,), of alpha_bar, or (T, 2), of alpha and sigma, got ", shape_text(schedule));
  levels.num_levels = schedule.size(0);
  if (!schedule.is_contiguous()) argument.schedule = torch::stable::contiguous(schedule);
  levels.values = argument.schedule.const_data_ptr();
  if (t.has_value()) {
    check_same_device(op, "t", *t, "x0", x0);
    check_dtype(op, "t", *t, ScalarType::Long);
    check(t->dim() == 1 && t->size(0) == x0.size(0), op, "t must have shape (B,) with x0's B = ", x0.size(0), ", got ",
          shape_text(*t));
    if (!t->is_contiguous()) argument.t = torch::stable::contiguous(*t);
    levels.t = static_cast<const int64_t*>(argument.t->const_data_ptr());
  } else {
    check(levels.num_levels == x0.size(0), op, "schedule must have a level for each of x0's ", x0.size(0),
          " samples where t is not given, got ", levels.num_levels);
  }
  if (x0.is_cpu()) check_rows(op, levels, rows_of(x0));
  return argument;
}

Prediction check_prediction(const char* op, const std::string& name) {
  if (name == "epsilon") return Prediction::epsilon;
  if (name == "sample") return Prediction::sample;
  if (name == "v_prediction") return Prediction::v_prediction;
  if (name == "velocity") return Prediction::velocity;
  fail(op, "prediction_type must be epsilon, sample, v_prediction or velocity, got ", name);
}

NoiseArgument check_noise(const char* op, const char* name, const Tensor& x0, const std::optional<Tensor>& noise,
                          const std::optional<Tensor>& key, int64_t first_index) {
  check(noise.has_value() != key.has_value(), op, "give exactly one of noise and key");
  if (key.has_value()) {
    check_counter(op, first_index, rows_of(x0), columns_of(x0));
    return {std::nullopt, check_key(op, *key, x0.is_cuda(), x0.get_device_index())};
  }
  check_alike(op, "noise", *noise, name, x0);
  return {dense(*noise), {}};
}

}  // namespace genpipe
