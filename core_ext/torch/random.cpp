#include "genpipe/random.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(random, RandomArgs)

namespace genpipe {
namespace {

using torch::stable::Device;

constexpr int64_t kGrain = 2048;  // blocks, a few microseconds

int64_t columns_in(const char* op, const std::vector<int64_t>& size) {
  check(!size.empty(), op, "shape must have a batch dimension, (B, *event), got ()");
  int64_t columns = 1;
  for (size_t d = 0; d < size.size(); ++d) {
    check(size[d] >= 0, op, "shape has the negative size ", size[d]);
    if (d > 0) columns *= size[d];
  }
  return columns;
}

// Fills out, (rows, columns) and contiguous, as the distribution in args says.
void fill(const char* op, const Tensor& key, RandomArgs args, int64_t rows, int64_t columns, int64_t first_index,
          const Tensor& out) {
  check_counter(op, first_index, rows, columns);
  bool on_cuda = out.is_cuda();
  KeyArgument checked = check_key(op, key, on_cuda, out.get_device_index());
  args.out = out.mutable_data_ptr();
  args.dtype = args.distribution == Distribution::integer ? DType::f32 : check_floating(op, "dtype", out);
  args.rows = rows;
  args.columns = columns;
  args.first_index = first_index;
  args.key = checked.value;
  args.device_key = checked.device;
  if (out.numel() == 0) return;
  GENPIPE_LAUNCH(random, args, on_cuda, out.get_device_index(), rows * blocks_per_row(columns), kGrain);
}

Tensor variates(const char* op, const Tensor& key, const std::vector<int64_t>& size, int64_t first_index,
                ScalarType dtype, Device device, Distribution distribution, int64_t high) {
  int64_t columns = columns_in(op, size);
  check_device(op, "the result", device);
  check_counter(op, first_index, size[0], columns);  // before anything is allocated
  Tensor out = torch::stable::empty(size, dtype, std::nullopt, device);
  RandomArgs args{};
  args.distribution = distribution;
  args.high = uint64_t(high);
  fill(op, key, args, size[0], columns, first_index, out);
  return out;
}

Tensor normal(const Tensor& key, std::vector<int64_t> size, int64_t first_index, ScalarType dtype, Device device) {
  return variates("normal", key, size, first_index, dtype, device, Distribution::normal, 0);
}

Tensor uniform(const Tensor& key, std::vector<int64_t> size, int64_t first_index, ScalarType dtype, Device device) {
  return variates("uniform", key, size, first_index, dtype, device, Distribution::uniform, 0);
}

Tensor gumbel(const Tensor& key, std::vector<int64_t> size, int64_t first_index, ScalarType dtype, Device device) {
  return variates("gumbel", key, size, first_index, dtype, device, Distribution::gumbel, 0);
}

Tensor rademacher(const Tensor& key, std::vector<int64_t> size, int64_t first_index, ScalarType dtype, Device device) {
  return variates("rademacher", key, size, first_index, dtype, device, Distribution::sign, 0);
}

Tensor bernoulli(const Tensor& key, const Tensor& probs, int64_t first_index) {
  const char* op = "bernoulli";
  check_device(op, "probs", probs.device());
  check_batched(op, "probs", probs);
  check_floating(op, "probs", probs);
  Tensor p = dense(probs), out = empty_contiguous(probs);
  RandomArgs args{};
  args.distribution = Distribution::bernoulli;
  args.probs = p.const_data_ptr();
  fill(op, key, args, rows_of(p), columns_of(p), first_index, out);
  return out;
}

Tensor randint(const Tensor& key, int64_t high, std::vector<int64_t> size, int64_t first_index, Device device) {
  check(high >= 1, "randint", "high must be at least 1, got ", high);
  return variates("randint", key, size, first_index, ScalarType::Long, device, Distribution::integer, high);
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("normal(Tensor key, SymInt[] size, SymInt first_index, ScalarType dtype, Device device) -> Tensor");
  m.def("uniform(Tensor key, SymInt[] size, SymInt first_index, ScalarType dtype, Device device) -> Tensor");
  m.def("gumbel(Tensor key, SymInt[] size, SymInt first_index, ScalarType dtype, Device device) -> Tensor");
  m.def("rademacher(Tensor key, SymInt[] size, SymInt first_index, ScalarType dtype, Device device) -> Tensor");
  m.def("bernoulli(Tensor key, Tensor probs, SymInt first_index) -> Tensor");
  m.def("randint(Tensor key, SymInt high, SymInt[] size, SymInt first_index, Device device) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("normal", TORCH_BOX(&genpipe::normal));
  m.impl("uniform", TORCH_BOX(&genpipe::uniform));
  m.impl("gumbel", TORCH_BOX(&genpipe::gumbel));
  m.impl("rademacher", TORCH_BOX(&genpipe::rademacher));
  m.impl("bernoulli", TORCH_BOX(&genpipe::bernoulli));
  m.impl("randint", TORCH_BOX(&genpipe::randint));
}
