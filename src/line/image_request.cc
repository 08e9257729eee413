// SPDX-License-Identifier: Apache-2.0
#include "line/image_request.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace takt::line {

Result<const FrameImage*> image_of(const Frame& frame, const std::string& role) {
  const auto found = std::ranges::find(frame.images, role, &FrameImage::role);
  if (found != frame.images.end()) return &*found;
  return fail(ErrorKind::invalid_input, "the frame has no image '" + role +
                                            "'; the source and the task's inputs must use the "
                                            "same names");
}

Result<InferRequest> image_request(const PlannedTask& task, const Frame& frame,
                                   const Region& region, FlowId flow) {
  InferRequest made;
  made.model = task.model.id;
  made.flow = flow;
  for (const std::vector<std::string>& roles : task.roles) {
    ImageStack stack;
    stack.region = region;
    for (const std::string& role : roles) {
      const Result<const FrameImage*> image = image_of(frame, role);
      if (!image) return std::unexpected(image.error());
      const ImageView& view = (*image)->view;
      if (!stack.images.empty() && (view.width != stack.images.front().width ||
                                    view.height != stack.images.front().height)) {
        return fail(ErrorKind::invalid_input,
                    "image '" + role + "' is " + std::to_string(view.width) + "x" +
                        std::to_string(view.height) + ", but '" + roles.front() + "' is " +
                        std::to_string(stack.images.front().width) + "x" +
                        std::to_string(stack.images.front().height) +
                        "; images of one input must have one size");
      }
      stack.images.push_back(view);
      if ((*image)->slot) made.holds.push_back((*image)->slot);
    }
    made.inputs.emplace_back(std::move(stack));
  }
  return made;
}

Placement placement_of(const PlannedTask& task, const Frame& frame, const Region& region) {
  const Result<const FrameImage*> image = image_of(frame, task.roles.front().front());
  if (!image) return {};
  return place(region, (*image)->view.width, (*image)->view.height, task.model_width,
               task.model_height, task.spec.preprocess.fit);
}

}  // namespace takt::line
