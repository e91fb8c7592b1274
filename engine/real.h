// The arithmetic type of the engine: float, or double in a REAL=double build (gradient checks to 1e-7).
#pragma once

namespace mbs {

#ifdef MBS_REAL_DOUBLE
using real = double;
#else
using real = float;
#endif

}  // namespace mbs
