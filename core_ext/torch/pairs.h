// What the ops over blocks of pairs check and hold on to.
#pragma once

#include "genpipe/pairs.h"
#include "glue.h"

namespace genpipe {

struct PairTensors {
  Tensor queries, references, products, query_bounds, reference_bounds;  // contiguous
  Pairs pairs;
};

PairTensors check_pairs(const char* op, const Tensor& queries, const Tensor& references, const Tensor& products,
                        const Tensor& query_bounds, const Tensor& reference_bounds, int64_t num_bounds);

// An argument that an op adds to: of this dtype and shape, contiguous, on the queries' device.
void check_result(const char* op, const char* name, const Tensor& x, ScalarType dtype, int64_t rows, int64_t columns,
                  const Tensor& queries);

}  // namespace genpipe
