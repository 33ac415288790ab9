#include "genpipe/q_sample.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(q_sample, QSampleArgs)

namespace genpipe {
namespace {

constexpr int64_t kGrain = 1024;  // blocks

// Fills out, and noise_out where it is wanted.
void noise_into(const char* op, const Tensor& x0, const Tensor& t, const Tensor& alpha_bar,
                const std::optional<Tensor>& noise, const std::optional<Tensor>& key, int64_t first_index, Tensor& out,
                Tensor* noise_out) {
  check_device(op, "x0", x0.device());
  check_batched(op, "x0", x0);
  QSampleArgs args{};
  args.dtype = check_floating(op, "x0", x0);
  check_same_device(op, "t", t, "x0", x0);
  check_dtype(op, "t", t, ScalarType::Long);
  check(t.dim() == 1 && t.size(0) == x0.size(0), op, "t must have shape (B,) with x0's B = ", x0.size(0), ", got ",
        shape_text(t));
  check_same_device(op, "alpha_bar", alpha_bar, "x0", x0);
  args.alpha_bar_is_double = alpha_bar.scalar_type() == ScalarType::Double;
  check(args.alpha_bar_is_double || alpha_bar.scalar_type() == ScalarType::Float, op,
        "alpha_bar must be float64 or float32, got ", dtype_name(alpha_bar.scalar_type()));
  check(alpha_bar.dim() == 1, op, "alpha_bar must have shape (T,), got ", shape_text(alpha_bar));
  check(noise.has_value() != key.has_value(), op, "give exactly one of noise and key");

  Tensor x0_c = dense(x0), t_c = dense(t), table = dense(alpha_bar), noise_c;
  args.num_steps = alpha_bar.size(0);
  args.rows = rows_of(x0);
  args.columns = columns_of(x0);
  args.t = static_cast<const int64_t*>(t_c.const_data_ptr());
  args.alpha_bar = table.const_data_ptr();
  if (x0.is_cpu()) {  // on CUDA the kernel checks: looking from here would wait for the device
    for (int64_t i = 0; i < args.rows; ++i) {
      check(args.t[i] >= 0 && args.t[i] < args.num_steps, op, "t[", i, "] = ", args.t[i],
            " is outside of alpha_bar's steps, 0 to ", args.num_steps - 1);
    }
  }
  if (noise.has_value()) {
    check_same_device(op, "noise", *noise, "x0", x0);
    check_same_dtype(op, "noise", *noise, "x0", x0);
    check_same_shape(op, "noise", *noise, "x0", x0);
    noise_c = contiguous(*noise);
    args.noise = noise_c.const_data_ptr();
  } else {
    KeyArgument checked = check_key(op, *key, x0.is_cuda(), x0.get_device_index());
    check_counter(op, first_index, args.rows, args.columns);
    args.first_index = first_index;
    args.key = checked.value;
    args.device_key = checked.device;
  }
  if (x0.numel() == 0) return;
  args.x0 = x0_c.const_data_ptr();
  args.out = out.mutable_data_ptr();
  args.noise_out = noise_out != nullptr ? noise_out->mutable_data_ptr() : nullptr;
  GENPIPE_LAUNCH(q_sample, args, x0.is_cuda(), x0.get_device_index(), args.rows * blocks_per_row(args.columns), kGrain);
}

Tensor q_sample(const Tensor& x0, const Tensor& t, const Tensor& alpha_bar, std::optional<Tensor> noise,
                std::optional<Tensor> key, int64_t first_index) {
  Tensor out = empty_contiguous(x0);
  noise_into("q_sample", x0, t, alpha_bar, noise, key, first_index, out, nullptr);
  return out;
}

std::tuple<Tensor, Tensor> q_sample_with_noise(const Tensor& x0, const Tensor& t, const Tensor& alpha_bar,
                                               const Tensor& key, int64_t first_index) {
  Tensor out = empty_contiguous(x0), noise = empty_contiguous(x0);
  noise_into("q_sample_with_noise", x0, t, alpha_bar, std::nullopt, key, first_index, out, &noise);
  return {out, noise};
}

void q_sample_out(const Tensor& x0, const Tensor& t, const Tensor& alpha_bar, std::optional<Tensor> noise,
                  std::optional<Tensor> key, int64_t first_index, Tensor out) {
  check_same_device("q_sample", "out", out, "x0", x0);
  check_same_dtype("q_sample", "out", out, "x0", x0);
  check_same_shape("q_sample", "out", out, "x0", x0);
  check_contiguous("q_sample", "out", out);
  noise_into("q_sample", x0, t, alpha_bar, noise, key, first_index, out, nullptr);
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "q_sample(Tensor x0, Tensor t, Tensor alpha_bar, Tensor? noise, Tensor? key, SymInt first_index) -> Tensor");
  m.def(
      "q_sample_with_noise(Tensor x0, Tensor t, Tensor alpha_bar, Tensor key, SymInt first_index) -> (Tensor, Tensor)");
  m.def(
      "q_sample_out(Tensor x0, Tensor t, Tensor alpha_bar, Tensor? noise, Tensor? key, SymInt first_index, "
      "Tensor(a!) out) -> ()");
}

GENPIPE_REGISTER(m) {
  m.impl("q_sample", TORCH_BOX(&genpipe::q_sample));
  m.impl("q_sample_with_noise", TORCH_BOX(&genpipe::q_sample_with_noise));
  m.impl("q_sample_out", TORCH_BOX(&genpipe::q_sample_out));
}
