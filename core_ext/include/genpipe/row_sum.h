// How a row is summed, on every backend: blocks of 256 terms; in a block, lane i of 16 adds the terms i, i + 16, … in
// order, and the lanes fold in halves; the blocks add up in order, in double. One fixed tree: the same bits whatever
// the instruction set, the number of threads or the device.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

constexpr int kSumLanes = 16;
constexpr int kSumBlock = 256;

}  // namespace genpipe
