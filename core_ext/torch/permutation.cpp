#include "genpipe/permutation.h"

#include <math.h>

#include "glue.h"

GENPIPE_DECLARE_KERNEL(permutation, PermutationArgs)

namespace genpipe {
namespace {

constexpr int64_t kGrain = 2048;  // indices, tens of microseconds

Tensor permutation(const Tensor& key, int64_t n, int64_t start, int64_t count, torch::stable::Device device) {
  const char* op = "permutation";
  check(n >= 0, op, "n must not be negative, got ", n);
  check(start >= 0 && start <= n, op, "start must be in 0 to n = ", n, ", got ", start);
  check(count >= 0 && count <= n - start, op, "count must be in 0 to n - start = ", n - start, ", got ", count);
  check_device(op, "the result", device);
  Tensor out = torch::stable::empty({count}, ScalarType::Long, std::nullopt, device);
  bool on_cuda = out.is_cuda();
  KeyArgument checked = check_key(op, key, on_cuda, out.get_device_index());
  if (count == 0) return out;
  uint64_t a = uint64_t(sqrt(double(n)));  // within one of the root, wherever double rounds
  while (a * a < uint64_t(n)) ++a;
  while ((a - 1) * (a - 1) >= uint64_t(n)) --a;
  PermutationArgs args{};
  args.out = static_cast<int64_t*>(out.mutable_data_ptr());
  args.n = n;
  args.start = start;
  args.count = count;
  args.a = a;
  args.b = (uint64_t(n) + a - 1) / a;
  args.key = checked.value;
  args.device_key = checked.device;
  GENPIPE_LAUNCH(permutation, args, on_cuda, out.get_device_index(), count, kGrain);
  return out;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def("permutation(Tensor key, SymInt n, SymInt start, SymInt count, Device device) -> Tensor");
}

GENPIPE_REGISTER(m) { m.impl("permutation", TORCH_BOX(&genpipe::permutation)); }
