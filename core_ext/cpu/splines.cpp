// The work unit is a row. Elements go in groups of kGroup, with a loop over the group inside each over the bins. The
// loops stand in functions that are not inlined: together, GCC 12 vectorises few of them.
#include "genpipe/splines.h"

#include "row_sum.h"
#include "transpose.h"

#define GENPIPE_LOOPS static __attribute__((noinline))

namespace genpipe {
namespace {

// One of the two partitions of the interval, for a group.
template <class C>
struct Partition {
  C* shares;         // (bins, kGroup): the exponentials of the logits
  C factor[kGroup];  // a share's size in the interval
  C before[kGroup];  // the shares before the element's bin,
  C share[kGroup];   // and its own
  C smallest;
};

// A group's parameters, and the bins that its targets lie in.
template <class C>
struct Group {
  alignas(64) C params[(3 * kMaxSplineBins - 1) * kGroup];  // (3 bins - 1, kGroup)
  C given[kGroup], target[kGroup];  // the arguments, and within the interval
  C bin[kGroup], raw0[kGroup], raw1[kGroup];  // the bins, and the unnormalised slopes at their ends
  C value[kGroup], log_slope[kGroup];  // results, or the gradients towards them
  Partition<C> widths, heights;
  C* slopes;
};

// The logits become exponentials, the largest of an element's at 1.
template <class C>
GENPIPE_LOOPS void exponentiate(C* logits, int bins, double span, double smallest, Partition<C>* part) {
  C top[kGroup], total[kGroup];
  GENPIPE_EACH(i) {
    top[i] = logits[i];
    total[i] = C(0);
  }
  for (int k = 1; k < bins; ++k) {
    GENPIPE_EACH(i) top[i] = larger(logits[k * kGroup + i], top[i]);
  }
  for (int k = 0; k < bins; ++k) {
    GENPIPE_EACH(i) {
      C share = exp_decay(top[i] - logits[k * kGroup + i]);
      logits[k * kGroup + i] = share;
      total[i] += share;
    }
  }
  GENPIPE_EACH(i) part->factor[i] = C(span) / total[i];
  part->shares = logits;
  part->smallest = C(smallest);
}

// The bins whose first knot is the last one before the target, and their place.
template <class C>
GENPIPE_LOOPS void search(const C* target, C bound, int bins, C* bin, Partition<C>* part) {
  C sum[kGroup];
  GENPIPE_EACH(i) {
    sum[i] = part->share[i] = part->shares[i];
    part->before[i] = bin[i] = C(0);
  }
  for (int k = 1; k < bins; ++k) {
    const C* shares = part->shares + k * kGroup;
    GENPIPE_EACH(i) {
      bool reached = target[i] >= spline_knot(sum[i], C(k), part->factor[i], part->smallest, bound);
      bin[i] = select(reached, C(k), bin[i]);
      part->before[i] = select(reached, sum[i], part->before[i]);
      part->share[i] = select(reached, shares[i], part->share[i]);
      sum[i] += shares[i];
    }
  }
}

// The place of bins that are known.
template <class C>
GENPIPE_LOOPS void look_up(const C* bin, int bins, Partition<C>* part) {
  C sum[kGroup];
  GENPIPE_EACH(i) {
    sum[i] = part->share[i] = part->shares[i];
    part->before[i] = C(0);
  }
  for (int k = 1; k < bins; ++k) {
    const C* shares = part->shares + k * kGroup;
    GENPIPE_EACH(i) {
      bool reached = bin[i] >= C(k);
      part->before[i] = select(reached, sum[i], part->before[i]);
      part->share[i] = select(reached, shares[i], part->share[i]);
      sum[i] += shares[i];
    }
  }
}

template <class C>
GENPIPE_LOOPS void look_up_slopes(int bins, Group<C>* g) {
  GENPIPE_EACH(i) g->raw0[i] = g->raw1[i] = C(0);
  for (int k = 0; k < bins - 1; ++k) {
    const C* slopes = g->slopes + k * kGroup;
    GENPIPE_EACH(i) {
      g->raw1[i] = select(g->bin[i] == C(k), slopes[i], g->raw1[i]);
      g->raw0[i] = select(g->bin[i] == C(k + 1), slopes[i], g->raw0[i]);
    }
  }
}

template <class T, class C>
GENPIPE_FN void locate(const T* x, const T* params, int64_t count, const SplineScale& scale, bool by_height,
                       Group<C>* g) {
  int bins = scale.bins;
  C bound = C(scale.bound);
  for (int i = 0; i < kGroup; ++i) g->given[i] = load(x + min(i, count - 1));
  GENPIPE_EACH(i) g->target[i] = select(within(g->given[i], bound), g->given[i], C(0));
  load_records(params, count, spline_params(bins), g->params);
  exponentiate(g->params, bins, scale.width_span, scale.min_width, &g->widths);
  exponentiate(g->params + bins * kGroup, bins, scale.height_span, scale.min_height, &g->heights);
  search(g->target, bound, bins, g->bin, by_height ? &g->heights : &g->widths);
  look_up(g->bin, bins, by_height ? &g->widths : &g->heights);
  g->slopes = g->params + 2 * bins * kGroup;
  look_up_slopes(bins, g);
}

template <class C>
GENPIPE_FN SplineBin<C> bin_of(const Group<C>& g, const SplineScale& scale, int i) {
  const Partition<C>&w = g.widths, &h = g.heights;
  C k = g.bin[i], bound = C(scale.bound), min_slope = C(scale.min_slope);
  return {spline_knot(w.before[i], k, w.factor[i], w.smallest, bound),
          spline_knot(h.before[i], k, h.factor[i], h.smallest, bound),
          fma(w.share[i], w.factor[i], w.smallest),
          fma(h.share[i], h.factor[i], h.smallest),
          select(k == C(0), C(1), spline_slope(g.raw0[i], min_slope)),
          select(k == C(scale.bins - 1), C(1), spline_slope(g.raw1[i], min_slope))};
}

template <bool inverse, class C>
GENPIPE_LOOPS void evaluate(const SplineScale& scale, Group<C>* g) {
  C bound = C(scale.bound);
  GENPIPE_EACH(i) {
    SplineBin<C> bin = bin_of(*g, scale, i);
    SplinePoint<C> point =
        inverse ? spline_inverse(bin, g->target[i], bound) : spline_forward(bin, g->target[i], bound);
    point = inside_or_itself(point, g->given[i], bound);
    g->value[i] = point.value;
    g->log_slope[i] = point.log_slope;
  }
}

template <class T, bool inverse>
GENPIPE_FN void forward(const RationalQuadraticSplineArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  Group<C> g;
  sum_rows<C>(a.log_det, begin, end, a.columns, [&](int64_t at, int64_t count, C* terms) {
    for (int64_t first = 0; first < count; first += kGroup) {
      int64_t n = min(kGroup, count - first), element = at + first;
      locate(static_cast<const T*>(a.x) + element,
             static_cast<const T*>(a.params) + element * spline_params(a.scale.bins), n, a.scale, inverse, &g);
      evaluate<inverse>(a.scale, &g);
      for (int64_t i = 0; i < n; ++i) {
        store(static_cast<T*>(a.y) + element + i, g.value[i]);
        terms[first + i] = g.log_slope[i];
      }
    }
  });
}

// Gradients towards what makes up the bins.
template <class C>
struct Gradients {
  C x[kGroup], y[kGroup], width[kGroup], height[kGroup], raw0[kGroup], raw1[kGroup];
};

template <bool inverse, class C>
GENPIPE_LOOPS void differentiate(const SplineScale& scale, Group<C>* g, Gradients<C>* to) {
  C bound = C(scale.bound), last = C(scale.bins - 1);
  GENPIPE_EACH(i) {
    bool inside = within(g->given[i], bound);
    C of_value = select(inside, g->value[i], C(0)), of_log_slope = select(inside, g->log_slope[i], C(0));
    SplineGradient<C> d = spline_gradient(bin_of(*g, scale, i), g->target[i], of_value, of_log_slope, inverse);
    g->value[i] = select(inside, d.argument, g->value[i]);
    to->x[i] = d.x;
    to->y[i] = d.y;
    to->width[i] = d.width;
    to->height[i] = d.height;
    to->raw0[i] = raw_slope_gradient(g->bin[i] == C(0), d.slope0, g->raw0[i]);
    to->raw1[i] = raw_slope_gradient(g->bin[i] == last, d.slope1, g->raw1[i]);
  }
}

// The shares become the gradient towards their logits.
template <class C>
GENPIPE_LOOPS void differentiate_shares(const C* bin, int bins, double span, const C* to_x, const C* to_width,
                                        Partition<C>* part) {
  C place[kGroup], size[kGroup], mean[kGroup], per_total[kGroup];
  GENPIPE_EACH(i) {
    per_total[i] = part->factor[i] / C(span);
    place[i] = to_x[i] * C(span);
    size[i] = to_width[i] * C(span);
    mean[i] = per_total[i] * share_gradient_mean(place[i], size[i], part->before[i], part->share[i]);
  }
  for (int k = 0; k < bins; ++k) {
    C* shares = part->shares + k * kGroup;
    GENPIPE_EACH(i) shares[i] = logit_gradient(C(k), bin[i], shares[i] * per_total[i], place[i], size[i], mean[i]);
  }
}

template <class C>
GENPIPE_LOOPS void differentiate_slopes(int bins, const Gradients<C>& to, Group<C>* g) {
  for (int k = 0; k < bins - 1; ++k) {
    C* slopes = g->slopes + k * kGroup;
    GENPIPE_EACH(i) {
      slopes[i] = select(g->bin[i] == C(k), to.raw1[i], select(g->bin[i] == C(k + 1), to.raw0[i], C(0)));
    }
  }
}

template <class T, bool inverse>
GENPIPE_FN void backward(const RationalQuadraticSplineBackwardArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  const C* grad_log_det = static_cast<const C*>(a.grad_log_det);
  int bins = a.scale.bins, size = spline_params(bins);
  Group<C> g;
  Gradients<C> to;
  int64_t row = begin, column = 0, stop = end * a.columns;
  for (int64_t element = begin * a.columns; element < stop; element += kGroup) {
    int64_t n = min(kGroup, stop - element);
    locate(static_cast<const T*>(a.x) + element, static_cast<const T*>(a.params) + element * size, n, a.scale, false,
           &g);
    for (int64_t i = 0; i < kGroup; ++i) {
      bool there = i < n;
      g.value[i] = there ? load(static_cast<const T*>(a.grad_y) + element + i) : C(0);
      g.log_slope[i] = there ? grad_log_det[row * a.grad_stride] : C(0);
      if (there && ++column == a.columns) {
        column = 0;
        ++row;
      }
    }
    differentiate<inverse>(a.scale, &g, &to);
    differentiate_shares(g.bin, bins, a.scale.width_span, to.x, to.width, &g.widths);
    differentiate_shares(g.bin, bins, a.scale.height_span, to.y, to.height, &g.heights);
    differentiate_slopes(bins, to, &g);
    for (int64_t i = 0; i < n; ++i) store(static_cast<T*>(a.grad_x) + element + i, g.value[i]);
    store_records(g.params, n, size, static_cast<T*>(a.grad_params) + element * size);
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void rational_quadratic_spline(const RationalQuadraticSplineArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    a.inverse ? forward<T, true>(a, begin, end) : forward<T, false>(a, begin, end);
  });
}

void rational_quadratic_spline_backward(const RationalQuadraticSplineBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    a.inverse ? backward<T, true>(a, begin, end) : backward<T, false>(a, begin, end);
  });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
