// SPDX-License-Identifier: Apache-2.0
#include "backend/image_input.h"

#include "core/tensor.h"
#include "image/placement.h"

#include <cmath>
#include <string>
#include <utility>

namespace takt {
namespace {

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

bool is_whole(const Region& region, int width, int height) noexcept {
  return region.width == 0 ||
         region == Region{0, 0, static_cast<float>(width), static_cast<float>(height)};
}

Result<void> check_values(const ImagePreprocess& preprocess, const TensorSpec& spec,
                          std::int64_t channels) {
  if (spec.type != DataType::fp32 && spec.type != DataType::fp16 && spec.type != DataType::bf16 &&
      spec.type != DataType::uint8) {
    return refuse("an image can't feed " + std::string(to_string(spec.type)) +
                  "; expected FP32, FP16, BF16 or UINT8");
  }
  const auto fits = [&](const std::vector<float>& values) {
    return values.empty() || std::cmp_equal(values.size(), channels);
  };
  if (!fits(preprocess.mean) || !fits(preprocess.stddev)) {
    return refuse("mean and stddev need one value for each of the " + std::to_string(channels) +
                  " channels, or none");
  }
  for (const float value : preprocess.stddev) {
    if (!(value > 0) || !std::isfinite(value)) return refuse("stddev must be greater than 0");
  }
  for (const float value : preprocess.mean) {
    if (!std::isfinite(value)) return refuse("mean must be finite");
  }
  if (!(preprocess.scale > 0) || !std::isfinite(preprocess.scale)) {
    return refuse("scale must be greater than 0");
  }
  const bool untouched =
      preprocess.scale == 1 && preprocess.mean.empty() && preprocess.stddev.empty();
  if (spec.type == DataType::uint8 && !untouched) {
    return refuse(
        "the model takes UINT8, so its values must stay whole; set scale: 1 and leave "
        "mean and stddev out");
  }
  return {};
}

}  // namespace

Result<ImageInput> resolve_image_input(const ImagePreprocess& preprocess, const TensorSpec& spec) {
  const auto within = [&](Error error) {
    return std::unexpected(std::move(error).within("input '" + spec.name + "'"));
  };
  Shape shape = spec.shape;
  if (shape.size() == 4 && shape.front() == 1) shape.erase(shape.begin());
  const std::string wanted = preprocess.channels_last ? "[H,W,C]" : "[C,H,W]";
  if (shape.size() != 3) {
    return within({ErrorKind::invalid_input, "has shape " + to_string(spec.shape) +
                                                 "; to be fed with images it must be " + wanted});
  }
  for (const std::int64_t dim : shape) {
    if (dim >= 1 && dim <= (1 << 16)) continue;
    return within({ErrorKind::invalid_input, "has shape " + to_string(spec.shape) +
                                                 ", and images need fixed sizes of " + wanted +
                                                 "; state dims in config.pbtxt"});
  }
  const int channels = static_cast<int>(preprocess.channels_last ? shape[2] : shape[0]);
  if (Result<void> values = check_values(preprocess, spec, channels); !values) {
    return within(std::move(values).error());
  }
  const int per_image = channel_count(preprocess.color);
  if (channels % per_image != 0) {
    return within({ErrorKind::invalid_input,
                   "has " + std::to_string(channels) + " channels, which " +
                       std::string(to_string(preprocess.color)) + " images of " +
                       std::to_string(per_image) + " can't fill; set preprocess.color"});
  }
  ImageInput input;
  input.preprocess = preprocess;
  input.staged.height = static_cast<int>(preprocess.channels_last ? shape[0] : shape[1]);
  input.staged.width = static_cast<int>(preprocess.channels_last ? shape[1] : shape[2]);
  input.staged.channels = channels;
  input.staged.channels_last = preprocess.color != PixelFormat::gray8;
  input.image_count = channels / per_image;
  input.row_bytes = static_cast<std::size_t>(shape[0] * shape[1] * shape[2]);
  return input;
}

Result<void> check_stack(const ImageStack& stack, const ImageInput& input) {
  if (std::cmp_not_equal(stack.images.size(), input.image_count)) {
    return refuse("got " + std::to_string(stack.images.size()) + " images, expected " +
                  std::to_string(input.image_count) + " (" + std::to_string(input.staged.channels) +
                  " channels, " + std::string(to_string(input.preprocess.color)) + ")");
  }
  const ImageView& first = stack.images.front();
  for (const ImageView& image : stack.images) {
    if (image.pixels == nullptr || image.width <= 0 || image.height <= 0 ||
        image.stride_bytes < image.width * channel_count(image.format)) {
      return refuse("an image has no pixels, or rows that overlap");
    }
    if (image.width != first.width || image.height != first.height) {
      return refuse("the images of a stack differ in size: " + std::to_string(first.width) + "x" +
                    std::to_string(first.height) + " and " + std::to_string(image.width) + "x" +
                    std::to_string(image.height));
    }
  }
  const Region& region = stack.region;
  const bool finite = std::isfinite(region.x) && std::isfinite(region.y) &&
                      std::isfinite(region.width) && std::isfinite(region.height);
  if (!finite || region.width < 0 || (region.width > 0 && !(region.height > 0))) {
    return refuse("the region must be finite, with a width and height greater than 0");
  }
  return {};
}

const std::uint8_t* staged_in_place(const ImageStack& stack, const ImageInput& input) noexcept {
  const std::uint8_t* next = stack.images.front().pixels;
  for (const ImageView& image : stack.images) {
    const bool same = image.width == input.staged.width && image.height == input.staged.height &&
                      image.format == input.preprocess.color && image.dense() &&
                      image.pixels == next;
    if (!same) return nullptr;
    next += image.byte_size();
  }
  if (input.staged.channels_last && input.image_count > 1) return nullptr;
  if (!is_whole(stack.region, input.staged.width, input.staged.height)) return nullptr;
  return stack.images.front().pixels;
}

Result<void> stage_stack(const ImageStack& stack, const ImageInput& input, Resampler& resampler,
                         std::span<std::uint8_t> row) {
  const int per_image = channel_count(input.preprocess.color);
  int channel = 0;
  for (const ImageView& image : stack.images) {
    const Placement placement = place(stack.region, image.width, image.height, input.staged.width,
                                      input.staged.height, input.preprocess.fit);
    const Result<PixelTarget> target =
        input_target(row, input.staged, channel, input.preprocess.color);
    if (!target) return std::unexpected(target.error());
    if (Result<void> done = resampler.run(image, placement, input.preprocess.pad_value, *target);
        !done) {
      return done;
    }
    channel += per_image;
  }
  return {};
}

}  // namespace takt
