#include "glue.h"

#include <atomic>

#include "../architectures.h"

namespace genpipe {

using torch::stable::Device;

std::string dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Half: return "float16";
    case ScalarType::Long: return "int64";
    case ScalarType::Int: return "int32";
    case ScalarType::Short: return "int16";
    case ScalarType::Char: return "int8";
    case ScalarType::Byte: return "uint8";
    case ScalarType::Bool: return "bool";
    default: return "dtype " + std::to_string(int(type));
  }
}

std::string shape_text(const Tensor& tensor) {
  std::string text = "(";
  for (int64_t d = 0; d < tensor.dim(); ++d) text += (d ? ", " : "") + std::to_string(tensor.size(d));
  return text + (tensor.dim() == 1 ? ",)" : ")");
}

std::string device_text(Device device) {
  if (device.is_cpu()) return "cpu";
  std::string index = device.has_index() ? ":" + std::to_string(device.index()) : "";
  return (device.is_cuda() ? "cuda" : "device type " + std::to_string(int(device.type()))) + index;
}

std::string device_text(const Tensor& tensor) { return device_text(tensor.device()); }

DType check_floating(const char* op, const char* name, const Tensor& x) {
  switch (x.scalar_type()) {
    case ScalarType::Float: return DType::f32;
    case ScalarType::Double: return DType::f64;
    case ScalarType::BFloat16: return DType::bf16;
    default: break;
  }
  fail(op, name, " must be float32, float64 or bfloat16, got ", dtype_name(x.scalar_type()));
}

void check_dtype(const char* op, const char* name, const Tensor& x, ScalarType expected) {
  check(x.scalar_type() == expected, op, name, " must be ", dtype_name(expected), ", got ",
        dtype_name(x.scalar_type()));
}

void check_same_dtype(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y) {
  check(x.scalar_type() == y.scalar_type(), op, name, " must have the dtype of ", other,
        " (", dtype_name(y.scalar_type()), "), got ", dtype_name(x.scalar_type()));
}

void check_same_shape(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y) {
  bool same = x.dim() == y.dim();
  for (int64_t d = 0; same && d < x.dim(); ++d) same = x.size(d) == y.size(d);
  check(same, op, name, " must have the shape of ", other, " ", shape_text(y), ", got ",
        shape_text(x));
}

void check_same_device(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y) {
  bool same = x.is_cpu() == y.is_cpu() && x.is_cuda() == y.is_cuda() && x.get_device_index() == y.get_device_index();
  check(same, op, name, " must be on the device of ", other, " (", device_text(y),
        "), got ", device_text(x));
}

void check_alike(const char* op, const char* name, const Tensor& x, const char* other, const Tensor& y) {
  check_same_device(op, name, x, other, y);
  check_same_dtype(op, name, x, other, y);
  check_same_shape(op, name, x, other, y);
}

void check_batched(const char* op, const char* name, const Tensor& x) {
  check(x.dim() >= 1, op, name,
        " must have a batch dimension, (B, *event), got a tensor without dimensions");
}

void check_contiguous(const char* op, const char* name, const Tensor& x) {
  check(x.is_contiguous(), op, name, " must be contiguous, got a strided view of shape ",
        shape_text(x));
}

void check_device(const char* op, const char* name, Device device) {
  check(device.is_cpu() || device.is_cuda(), op, name, " must be on cpu or cuda, got ", device_text(device));
#if !defined(GENPIPE_WITH_CUDA)
  check(!device.is_cuda(), op, name, " is on ", device_text(device),
        ", but genpipe was built without CUDA; with nvcc and a CUDA torch at hand, run "
        "GENPIPE_CUDA=ON pip install --no-build-isolation -e . (genpipe.build_info() says what is there)");
#endif
}

int64_t rows_of(const Tensor& x) { return x.size(0); }

int64_t columns_of(const Tensor& x) {
  int64_t columns = 1;
  for (int64_t d = 1; d < x.dim(); ++d) columns *= x.size(d);
  return columns;
}

KeyArgument check_key(const char* op, const Tensor& key, bool on_cuda, int32_t device_index) {
  check(key.scalar_type() == ScalarType::Long && key.dim() == 1 && key.size(0) == 2 && key.is_contiguous(), op,
        "key must be int64 of shape (2,), as ops.key(seed, stream) gives, got ", dtype_name(key.scalar_type()),
        " of shape ", shape_text(key));
  const int64_t* data = static_cast<const int64_t*>(key.const_data_ptr());
  if (key.is_cpu()) return {{uint64_t(data[0]), uint64_t(data[1])}, nullptr};
  check(key.is_cuda() && on_cuda && key.get_device_index() == device_index, op,
        "key must be on cpu or on the device that the op runs on, got ", device_text(key));
  return {{0, 0}, data};
}

void check_counter(const char* op, int64_t first_index, int64_t rows, int64_t columns) {
  check(first_index >= 0, op, "first_index must not be negative, got ", first_index);
  __int128 blocks = (__int128(first_index) + rows) * blocks_per_row(columns);
  check(blocks <= __int128(INT64_MAX), op, "first_index ", first_index, " with ", rows, " samples of ", columns,
        " elements runs past the 2^63 blocks of a stream");
}

namespace {

std::vector<int64_t> shape_of(const Tensor& x) {
  std::vector<int64_t> shape(x.dim());
  for (int64_t d = 0; d < x.dim(); ++d) shape[d] = x.size(d);
  return shape;
}

ScalarType compute_dtype(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

}  // namespace

void check_row_gradient(const char* op, const char* name, const Tensor& grad, const Tensor& x) {
  check_same_device(op, name, grad, "the input", x);
  check_dtype(op, name, grad, compute_dtype(x));
  check(grad.dim() == 1 && grad.size(0) == x.size(0), op, name, " must have shape (B,) with B = ", x.size(0),
        ", got ", shape_text(grad));
}

Tensor dense(const Tensor& x) { return x.is_contiguous() ? x : torch::stable::contiguous(x); }

Tensor empty_contiguous(const Tensor& like) {
  return torch::stable::empty(shape_of(like), like.scalar_type(), std::nullopt, like.device());
}

Tensor empty_in_compute_precision(const Tensor& like) {
  return torch::stable::empty(shape_of(like), compute_dtype(like), std::nullopt, like.device());
}

Tensor empty_rows(const Tensor& like) {
  return torch::stable::empty({like.size(0)}, compute_dtype(like), std::nullopt, like.device());
}

int64_t row_grain(int64_t columns) { return 1 + 8192 / (columns + 1); }

#if defined(GENPIPE_WITH_CUDA) || defined(GENPIPE_CUDA_EMULATION)
namespace cuda {
const char* error_text(int code);
int architecture(int device, int* out);
}

void check_cuda(const char* op, int code) {
  check(code == 0, op, "CUDA error ", code, ": ", cuda::error_text(code));
}
#endif

#if defined(GENPIPE_CUDA_EMULATION)
void* current_stream(int32_t) { return nullptr; }
#elif defined(GENPIPE_WITH_CUDA)
void* current_stream(int32_t device_index) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_index, &stream));
  return stream;
}

void check_architecture(const char* op, int32_t device_index) {
  static std::atomic<uint64_t> fitting{0};  // a bit per device
  uint64_t bit = uint64_t(1) << (device_index & 63);
  if (fitting.load(std::memory_order_relaxed) & bit) return;
  int architecture = 0;
  check_cuda(op, cuda::architecture(device_index, &architecture));
  check(architectures_fit(GENPIPE_CUDA_ARCHS, architecture), op, "cuda:", device_index, " is of architecture ",
        architecture, ", but genpipe was built for ", GENPIPE_CUDA_ARCHS, "; rebuild with GENPIPE_CUDA_ARCHS=",
        architecture, "-real");
  fitting.fetch_or(bit, std::memory_order_relaxed);
}
#endif

}  // namespace genpipe
