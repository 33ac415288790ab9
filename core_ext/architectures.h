// Whether a GPU can run what was built for a list of architectures, as CMake spells it.
#pragma once

#include <stdlib.h>

#include <sstream>
#include <string>

namespace genpipe {

// built: "80-real,90-virtual,…"; device: 90 for compute capability 9.0. Machine code (real) runs on its own generation
// from its own capability on, PTX (virtual) on every later device, and a plain number is both; a suffix letter (90a)
// ties to that device. What is no number (native, all) is taken to fit.
inline bool architectures_fit(const std::string& built, int device) {
  std::istringstream list(built);
  for (std::string entry; std::getline(list, entry, ',');) {
    char* rest = nullptr;
    int number = int(strtol(entry.c_str(), &rest, 10));
    if (number == 0) return true;
    bool tied = *rest >= 'a' && *rest <= 'z';
    bool real = entry.find("-virtual") == std::string::npos, ptx = entry.find("-real") == std::string::npos;
    if (number == device) return true;
    if (tied || number > device) continue;
    if (ptx || (real && number / 10 == device / 10)) return true;
  }
  return false;
}

}  // namespace genpipe
