#include "dispatch.h"

#include <stdlib.h>
#include <string.h>

namespace genpipe {
namespace {

bool supported(Variant variant) {
#if defined(GENPIPE_CUDA_EMULATION)
  if (variant == Variant::cuda_emulation) return true;
#endif
#if defined(GENPIPE_X86)
  switch (variant) {
    case Variant::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    case Variant::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    default:
      return variant == Variant::baseline;
  }
#else
  return variant == Variant::baseline;
#endif
}

VariantChoice choose() {
  const Variant by_speed[] = {Variant::avx512, Variant::avx2, Variant::baseline};
  const char* asked = getenv("GENPIPE_CPU");
  if (asked == nullptr || *asked == '\0') {
    for (Variant variant : by_speed) {
      if (supported(variant)) return {variant, nullptr};
    }
  }
  const Variant by_name[] = {Variant::avx512, Variant::avx2, Variant::baseline, Variant::cuda_emulation};
  for (Variant variant : by_name) {
    if (asked != nullptr && strcmp(asked, variant_name(variant)) == 0) {
      if (supported(variant)) return {variant, nullptr};
      return {Variant::baseline, "this processor, or this build, cannot run it"};
    }
  }
  return {Variant::baseline, "expected baseline, avx2 or avx512"};
}

}  // namespace

const VariantChoice& cpu_variant() {
  static const VariantChoice choice = choose();
  return choice;
}

const char* variant_name(Variant variant) {
  switch (variant) {
    case Variant::avx512: return "avx512";
    case Variant::avx2: return "avx2";
    case Variant::cuda_emulation: return "cuda-emulation";
    default: return "baseline";
  }
}

}  // namespace genpipe
