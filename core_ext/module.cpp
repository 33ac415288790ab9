// The Python module: it carries the ops, which register themselves with torch as it is loaded, and binds what is not
// a tensor.
#include <pybind11/pybind11.h>

#include <stdlib.h>

#include "architectures.h"
#include "dispatch.h"
#include "genpipe/philox.h"

namespace py = pybind11;

PYBIND11_MODULE(_C, m) {
  const genpipe::VariantChoice& choice = genpipe::cpu_variant();
  if (choice.error != nullptr) {
    throw py::import_error(std::string("GENPIPE_CPU=") + getenv("GENPIPE_CPU") + ": " + choice.error);
  }
  m.doc() = "genpipe's compiled core; its ops are reached through genpipe.ops";
  m.attr("cpu_variant") = genpipe::variant_name(choice.variant);
#if defined(GENPIPE_WITH_CUDA)
  m.attr("with_cuda") = true;
#else
  m.attr("with_cuda") = false;
#endif
  m.def("architectures_fit", &genpipe::architectures_fit, py::arg("built"), py::arg("device"),
        "Whether a device of architecture `device` (90) runs what was built for a list (\"80-real,90-virtual\").");
  m.def(
      "philox4x32",
      [](uint64_t block, uint64_t stream, uint64_t seed) {
        genpipe::Words words = genpipe::philox_block({seed, stream}, block);
        return py::make_tuple(words.w[0], words.w[1], words.w[2], words.w[3]);
      },
      py::arg("block"), py::arg("stream"), py::arg("seed"),
      "The four 32-bit words of Philox4x32-10 for counter (block, stream) and key seed; for tests and tables.");
}
