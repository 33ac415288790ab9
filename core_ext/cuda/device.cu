// What the glue asks of the CUDA runtime.
#include <cuda_runtime.h>

namespace genpipe {
namespace cuda {

const char* error_text(int code) { return cudaGetErrorString(cudaError_t(code)); }

// The device's compute capability as architectures are named: 90 for 9.0.
int architecture(int device, int* out) {
  int major = 0, minor = 0;
  cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  *out = 10 * major + minor;
  return int(error);
}

}  // namespace cuda
}  // namespace genpipe
