#include "pairs.h"

namespace genpipe {
namespace {

void check_bounds(const char* op, const char* name, const Tensor& bounds, int64_t num, int64_t points,
                  const Tensor& products) {
  check_same_device(op, name, bounds, "products", products);
  check_dtype(op, name, bounds,
              products.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float);
  check(bounds.dim() == 2 && bounds.size(0) == num && bounds.size(1) == points, op, name, " must have shape (", num,
        ", ", points, "), got ", shape_text(bounds));
}

}  // namespace

PairTensors check_pairs(const char* op, const Tensor& queries, const Tensor& references, const Tensor& products,
                        const Tensor& query_bounds, const Tensor& reference_bounds, int64_t num_bounds) {
  check_device(op, "queries", queries.device());
  check(queries.dim() == 2, op, "queries must have shape (Q, D), got ", shape_text(queries));
  Pairs pairs{};
  pairs.dtype = check_floating(op, "queries", queries);
  pairs.rows = queries.size(0);
  pairs.dims = queries.size(1);
  check_same_device(op, "references", references, "queries", queries);
  check_same_dtype(op, "references", references, "queries", queries);
  check(references.dim() == 2 && references.size(1) == pairs.dims, op,
        "references must have shape (R, D) with the queries' D = ", pairs.dims, ", got ", shape_text(references));
  pairs.columns = references.size(0);
  check_same_device(op, "products", products, "queries", queries);
  pairs.product_dtype = check_floating(op, "products", products);
  check(products.dim() == 2 && products.size(0) == pairs.rows && products.size(1) == pairs.columns, op,
        "products must have shape (", pairs.rows, ", ", pairs.columns, "), got ", shape_text(products));
  check_bounds(op, "query_bounds", query_bounds, num_bounds, pairs.rows, products);
  check_bounds(op, "reference_bounds", reference_bounds, num_bounds, pairs.columns, products);
  PairTensors held{dense(queries), dense(references), dense(products), dense(query_bounds), dense(reference_bounds),
                   pairs};
  held.pairs.queries = held.queries.const_data_ptr();
  held.pairs.references = held.references.const_data_ptr();
  held.pairs.products = held.products.const_data_ptr();
  held.pairs.query_bounds = held.query_bounds.const_data_ptr();
  held.pairs.reference_bounds = held.reference_bounds.const_data_ptr();
  return held;
}

void check_result(const char* op, const char* name, const Tensor& x, ScalarType dtype, int64_t rows, int64_t columns,
                  const Tensor& queries) {
  check_same_device(op, name, x, "queries", queries);
  check_dtype(op, name, x, dtype);
  check(x.dim() == 2 && x.size(0) == rows && x.size(1) == columns, op, name, " must have shape (", rows, ", ", columns,
        "), got ", shape_text(x));
  check_contiguous(op, name, x);
}

}  // namespace genpipe
