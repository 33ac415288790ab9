// A thread makes one index's image.
#include "genpipe/permutation.h"

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

struct Permute {
  PermutationArgs a;

  __device__ void operator()(int64_t i) const {
    PhiloxKey key = read_key(a.key, a.device_key);
    a.out[i] = walk_below(a, key, permute_once(a, key, uint64_t(a.start + i)));
  }
};

}  // namespace

int permutation(const PermutationArgs& a, void* stream) { return launch_for_each(Permute{a}, a.count, stream); }

}  // namespace cuda
}  // namespace genpipe
