#include "genpipe/q_sample.h"

#include "noise_level.h"

GENPIPE_DECLARE_KERNEL(q_sample, QSampleArgs)

namespace genpipe {
namespace {

constexpr int64_t kGrain = 1024, kGrainWithoutNoise = 8192;  // blocks

// Fills out, and target where it is wanted.
void noise_into(const char* op, const Tensor& x0, const std::optional<Tensor>& t, const Tensor& schedule,
                const std::optional<Tensor>& noise, const std::optional<Tensor>& key, int64_t first_index, Tensor& out,
                Tensor* target, Prediction prediction) {
  check_device(op, "x0", x0.device());
  check_batched(op, "x0", x0);
  QSampleArgs args{};
  args.dtype = check_floating(op, "x0", x0);
  args.prediction = prediction;
  args.rows = rows_of(x0);
  args.columns = columns_of(x0);
  args.first_index = first_index;
  LevelArgument levels = check_levels(op, x0, t, schedule);
  NoiseArgument source = check_noise(op, "x0", x0, noise, key, first_index);
  args.levels = levels.levels;
  args.noise = source.data();
  args.key = source.key.value;
  args.device_key = source.key.device;
  if (x0.numel() == 0) return;
  Tensor x0_c = dense(x0);
  args.x0 = x0_c.const_data_ptr();
  args.out = out.mutable_data_ptr();
  args.target = target != nullptr ? target->mutable_data_ptr() : nullptr;
  GENPIPE_LAUNCH(q_sample, args, x0.is_cuda(), x0.get_device_index(), args.rows * blocks_per_row(args.columns),
                 args.noise == nullptr ? kGrain : kGrainWithoutNoise);
}

Tensor q_sample(const Tensor& x0, std::optional<Tensor> t, const Tensor& schedule, std::optional<Tensor> noise,
                std::optional<Tensor> key, int64_t first_index) {
  Tensor out = empty_contiguous(x0);
  noise_into("q_sample", x0, t, schedule, noise, key, first_index, out, nullptr, Prediction::epsilon);
  return out;
}

std::tuple<Tensor, Tensor> q_sample_with_target(const Tensor& x0, std::optional<Tensor> t, const Tensor& schedule,
                                                std::optional<Tensor> noise, std::optional<Tensor> key,
                                                int64_t first_index, std::string prediction_type) {
  const char* op = "q_sample_with_target";
  Prediction prediction = check_prediction(op, prediction_type);
  Tensor out = empty_contiguous(x0), target = empty_contiguous(x0);
  noise_into(op, x0, t, schedule, noise, key, first_index, out, &target, prediction);
  return {out, target};
}

void q_sample_out(const Tensor& x0, std::optional<Tensor> t, const Tensor& schedule, std::optional<Tensor> noise,
                  std::optional<Tensor> key, int64_t first_index, Tensor out) {
  check_alike("q_sample", "out", out, "x0", x0);
  check_contiguous("q_sample", "out", out);
  noise_into("q_sample", x0, t, schedule, noise, key, first_index, out, nullptr, Prediction::epsilon);
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "q_sample(Tensor x0, Tensor? t, Tensor schedule, Tensor? noise, Tensor? key, SymInt first_index) -> Tensor");
  m.def(
      "q_sample_with_target(Tensor x0, Tensor? t, Tensor schedule, Tensor? noise, Tensor? key, SymInt first_index, "
      "str prediction_type) -> (Tensor, Tensor)");
  m.def(
      "q_sample_out(Tensor x0, Tensor? t, Tensor schedule, Tensor? noise, Tensor? key, SymInt first_index, "
      "Tensor(a!) out) -> ()");
}

GENPIPE_REGISTER(m) {
  m.impl("q_sample", TORCH_BOX(&genpipe::q_sample));
  m.impl("q_sample_with_target", TORCH_BOX(&genpipe::q_sample_with_target));
  m.impl("q_sample_out", TORCH_BOX(&genpipe::q_sample_out));
}
