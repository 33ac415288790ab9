// The work unit is an index. A chunk of them goes through the rounds together.
#include "genpipe/permutation.h"

#include "lanes.h"

namespace genpipe {
namespace {

constexpr int kVectors = 4;  // side by side, so that one's products wait for no other's
constexpr int kIndices = kVectors * kLanes;

GENPIPE_FN void half_round(PhiloxKey key, int round, uint64_t size, const Lanes* other, Lanes* coordinate) {
  for (int v = 0; v < kVectors; ++v) {
    Lanes c0 = other[v], c1 = Lanes{} + uint64_t(round);
    Lanes c2 = Lanes{} + key.stream, c3 = Lanes{} + (key.stream >> 32);
    philox4x32_10<MulWideLanes>(c0, c1, c2, c3, key.seed);
    Lanes sum = coordinate[v] + scaled<MulWideLanes>(c0, c1, uint32_t(size));
    coordinate[v] = sum - (Lanes(sum >= size) & size);
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void permutation(const PermutationArgs& a, int64_t begin, int64_t end) {
  uint64_t x = uint64_t(a.start + begin), left = x / a.b, right = x % a.b;
  for (int64_t i = begin; i < end; i += kIndices) {
    Lanes lefts[kVectors], rights[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      for (int lane = 0; lane < kLanes; ++lane) {
        lefts[v][lane] = left;
        rights[v][lane] = right;
        if (++right == a.b) {
          right = 0;
          ++left;
        }
      }
    }
    for (int round = 0; round < permutation_rounds(a.n); round += 2) {
      half_round(a.key, round, a.a, rights, lefts);
      half_round(a.key, round + 1, a.b, lefts, rights);
    }
    for (int v = 0; v < kVectors; ++v) {
      for (int lane = 0; lane < kLanes; ++lane) {
        int64_t at = i + v * kLanes + lane;
        if (at < end) a.out[at] = walk_below(a, a.key, lefts[v][lane] * a.b + rights[v][lane]);
      }
    }
  }
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
