#include "genpipe/random.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(random, RandomArgs)

namespace genpipe {
namespace {

using torch::stable::Device;

constexpr int64_t kGrain = 2048;  // blocks, a few microseconds

Tensor variates(const char* op, const Tensor& key, const std::vector<int64_t>& size, int64_t first_index,
                ScalarType dtype, Device device, Distribution distribution, int64_t high) {
  check(!size.empty(), op, "shape must have a batch dimension, (B, *event), got ()");
  int64_t columns = 1;
  for (size_t d = 0; d < size.size(); ++d) {
    check(size[d] >= 0, op, "shape has the negative size ", size[d]);
    if (d > 0) columns *= size[d];
  }
  check_device(op, "the result", device);
  check_counter(op, first_index, size[0], columns);
  Tensor out = torch::stable::empty(size, dtype, std::nullopt, device);
  bool on_cuda = out.is_cuda();
  RandomArgs args{};
  args.dtype = distribution == Distribution::integer ? DType::f32 : check_floating(op, "dtype", out);
  KeyArgument checked = check_key(op, key, on_cuda, out.get_device_index());
  args.out = out.mutable_data_ptr();
  args.distribution = distribution;
  args.rows = size[0];
  args.columns = columns;
  args.first_index = first_index;
  args.key = checked.value;
  args.device_key = checked.device;
  args.high = uint64_t(high);
  if (out.numel() == 0) return out;
  GENPIPE_LAUNCH(random, args, on_cuda, out.get_device_index(), args.rows * blocks_per_row(args.columns), kGrain);
  return out;
}

Tensor normal(const Tensor& key, std::vector<int64_t> size, int64_t first_index, ScalarType dtype, Device device) {
  return variates("normal", key, size, first_index, dtype, device, Distribution::normal, 0);
}

Tensor uniform(const Tensor& key, std::vector<int64_t> size, int64_t first_index, ScalarType dtype, Device device) {
  return variates("uniform", key, size, first_index, dtype, device, Distribution::uniform, 0);
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
  m.def("randint(Tensor key, SymInt high, SymInt[] size, SymInt first_index, Device device) -> Tensor");
}

GENPIPE_REGISTER(m) {
  m.impl("normal", TORCH_BOX(&genpipe::normal));
  m.impl("uniform", TORCH_BOX(&genpipe::uniform));
  m.impl("randint", TORCH_BOX(&genpipe::randint));
}
