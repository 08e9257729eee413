// SPDX-License-Identifier: Apache-2.0
// A task's request for the images of a frame.
// Thread-safe: pure functions.
// Owns: nothing; the request shares the slots of the images.
#pragma once

#include "core/ids.h"
#include "core/result.h"
#include "engine/inference_client.h"
#include "image/placement.h"
#include "line/frame.h"
#include "line/line_plan.h"

#include <string>

namespace takt::line {

// The image with this role. Errors: invalid_input.
[[nodiscard]] Result<const FrameImage*> image_of(const Frame& frame, const std::string& role);

// Of `region` (width 0: the whole image), without class and deadline. Errors: invalid_input (an image
// that is missing, images of one input that differ in size).
[[nodiscard]] Result<InferRequest> image_request(const PlannedTask& task, const Frame& frame,
                                                 const Region& region, FlowId flow);

// Where the region lies in the model's input, for post-processing.
[[nodiscard]] Placement placement_of(const PlannedTask& task, const Frame& frame,
                                     const Region& region);

}  // namespace takt::line
