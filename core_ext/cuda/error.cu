#include <cuda_runtime.h>

namespace genpipe {
namespace cuda {

const char* error_text(int code) { return cudaGetErrorString(cudaError_t(code)); }

}  // namespace cuda
}  // namespace genpipe
