// What every op's glue shares: checks whose texts name the op and the argument, and the launch on the right device.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "../dispatch.h"
#include "genpipe/philox.h"
#include "genpipe/platform.h"

namespace genpipe {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A mistake of the caller: the text, and no place in our sources. Python gets a RuntimeError.
template <class... Parts>
[[noreturn]] void fail(const char* op, const Parts&... parts) {
  std::ostringstream text;
  text << "genpipe." << op << ": ";
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

template <class... Parts>
void check(bool held, const char* op, const Parts&... parts) {
  if (!held) fail(op, parts...);
}

std::string dtype_name(ScalarType type);
std::string shape_text(const Tensor& tensor);
std::string device_text(torch::stable::Device device);
std::string device_text(const Tensor& tensor);

// x's DType; raises unless it is float32, float64 or bfloat16.
DType check_floating(const char* op, const char* name, const Tensor& x);
void check_dtype(const char* op, const char* name, const Tensor& x, ScalarType expected);
void check_same_dtype(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y);
void check_same_shape(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y);
void check_same_device(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y);
// x on y's device, of its dtype and its shape.
void check_alike(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y);
void check_batched(const char* op, const char* name, const Tensor& x);           // at least one dimension
void check_contiguous(const char* op, const char* name, const Tensor& x);        // for outputs
void check_device(const char* op, const char* name, torch::stable::Device x);     // one that this build can use

int64_t rows_of(const Tensor& x);     // the first dimension
int64_t columns_of(const Tensor& x);  // the product of the others

// A key by value where it lies on the CPU, by address where it lies on the device that runs the op.
struct KeyArgument {
  PhiloxKey value;
  const int64_t* device;
};
KeyArgument check_key(const char* op, const Tensor& key, bool on_cuda, int32_t device_index);

// The blocks that first_index, rows and columns lead to must fit the counter.
void check_counter(const char* op, int64_t first_index, int64_t rows, int64_t columns);

// A gradient of one number per row of x, in the precision that x computes in, on x's device.
void check_row_gradient(const char* op, const char* name, const Tensor& grad, const Tensor& x);

Tensor dense(const Tensor& x);                  // x itself where it is contiguous
Tensor empty_contiguous(const Tensor& like);  // of like's shape, dtype and device, row-major whatever like's strides
Tensor empty_in_compute_precision(const Tensor& like);  // the same, in the precision that like computes in
Tensor empty_rows(const Tensor& like);        // (B,) in the precision that like computes in
int64_t row_grain(int64_t columns);           // rows that are worth a thread

// Whether the CUDA kernels run on x: it is a CUDA tensor, or they are emulated. Asked where an op's launches differ.
inline bool runs_on_cuda(const Tensor& x) { return x.is_cuda() || emulates_cuda(); }

#if defined(GENPIPE_WITH_CUDA) || defined(GENPIPE_CUDA_EMULATION)
void* current_stream(int32_t device_index);
void check_cuda(const char* op, int code);
void check_architecture(const char* op, int32_t device_index);  // the device can run what was built
#endif

// Runs op's kernel over `units` work units: on the CPU in parallel ranges of at least `grain`, on CUDA all of them.
#if defined(GENPIPE_CUDA_EMULATION)
#define GENPIPE_LAUNCH_CUDA(op, args, device_index) check_cuda(#op, cuda::op(args, nullptr));
#elif defined(GENPIPE_WITH_CUDA)
#define GENPIPE_LAUNCH_CUDA(op, args, device_index)                      \
  check_architecture(#op, device_index);                                 \
  torch::stable::accelerator::DeviceGuard guard(device_index);           \
  check_cuda(#op, cuda::op(args, current_stream(device_index)));
#else
#define GENPIPE_LAUNCH_CUDA(op, args, device_index) \
  fail(#op, "this build has no CUDA kernels");
#endif

#define GENPIPE_LAUNCH(op, args, on_cuda, device_index, units, grain)                                     \
  do {                                                                                                    \
    if (on_cuda || emulates_cuda()) {                                                                     \
      GENPIPE_LAUNCH_CUDA(op, args, device_index)                                                         \
    } else {                                                                                              \
      auto kernel = op##_cpu();                                                                           \
      torch::stable::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); }); \
    }                                                                                                     \
  } while (false)

// The same for an op whose work unit is a row, where args holds rows and columns; on x's device.
#define GENPIPE_LAUNCH_ROWS(op, args, x) \
  GENPIPE_LAUNCH(op, args, x.is_cuda(), x.get_device_index(), args.rows, row_grain(args.columns))

}  // namespace genpipe

// Registers one implementation for both devices: which of them runs is decided inside, so that a CUDA tensor given to
// a CPU-only build meets our own error.
#define GENPIPE_REGISTER(m)                                        \
  static void genpipe_register(torch::stable::detail::StableLibrary& m); \
  STABLE_TORCH_LIBRARY_IMPL(genpipe, CPU, cpu_library) { genpipe_register(cpu_library); } \
  STABLE_TORCH_LIBRARY_IMPL(genpipe, CUDA, cuda_library) { genpipe_register(cuda_library); } \
  static void genpipe_register(torch::stable::detail::StableLibrary& m)
