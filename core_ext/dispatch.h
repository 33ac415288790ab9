// Which build of the CPU kernels runs. Each kernel exists once per instruction set, in a namespace of its own; the
// choice is made once, by what the processor can, or by GENPIPE_CPU=baseline|avx2|avx512. A build that emulates CUDA
// has one more, cuda-emulation: the CUDA kernels, run on the CPU.
#pragma once

#include <stdint.h>

namespace genpipe {

enum class Variant { baseline, avx2, avx512, cuda_emulation };

struct VariantChoice {
  Variant variant;
  const char* error;  // why GENPIPE_CPU cannot be met; null where all is well
};

const VariantChoice& cpu_variant();
const char* variant_name(Variant variant);

inline bool emulates_cuda() {
#if defined(GENPIPE_CUDA_EMULATION)
  return cpu_variant().variant == Variant::cuda_emulation;
#else
  return false;
#endif
}

}  // namespace genpipe

// Declares op's kernels (CPU: a range of work units; CUDA: all of it on a stream) for the glue.
#if defined(GENPIPE_X86)
#define GENPIPE_DECLARE_X86(op, Args) \
  namespace avx2 {                    \
  void op(const Args&, int64_t, int64_t); \
  }                                   \
  namespace avx512 {                  \
  void op(const Args&, int64_t, int64_t); \
  }
#define GENPIPE_SELECT_X86(op)                                \
  switch (cpu_variant().variant) {                            \
    case Variant::avx512: return avx512::op;                  \
    case Variant::avx2: return avx2::op;                      \
    default: break;                                           \
  }
#else
#define GENPIPE_DECLARE_X86(op, Args)
#define GENPIPE_SELECT_X86(op)
#endif

#define GENPIPE_DECLARE_KERNEL(op, Args)                            \
  namespace genpipe {                                               \
  GENPIPE_DECLARE_X86(op, Args)                                     \
  namespace baseline {                                              \
  void op(const Args&, int64_t, int64_t);                           \
  }                                                                 \
  namespace cuda {                                                  \
  int op(const Args&, void* stream);                                \
  }                                                                 \
  inline void (*op##_cpu())(const Args&, int64_t, int64_t) {        \
    GENPIPE_SELECT_X86(op)                                          \
    return baseline::op;                                            \
  }                                                                 \
  }
