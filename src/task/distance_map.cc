// SPDX-License-Identifier: Apache-2.0
// A map of distances [h,w] (or [1,h,w]) over the model's input: the connected cells above
// distance_max become differences. Cells count when their centre shows the image and not padding.
#include "task/outputs.h"
#include "task/postprocessors.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace takt::postprocess {
namespace {

struct Area {
  int x1 = 0;  // in cells, inclusive
  int y1 = 0;
  int x2 = 0;
  int y2 = 0;
  int cells = 0;
  float distance = 0;
};

// The cells whose centre lies in [first, first + count) model pixels.
struct Cells {
  int begin = 0;
  int end = 0;
};

Cells cells_inside(int first, int count, float cell_px, int cells) {
  const auto at = [&](int pixel) {
    const float cell = std::ceil(static_cast<float>(pixel) / cell_px - 0.5F);
    return std::clamp(static_cast<int>(cell), 0, cells);
  };
  return {at(first), at(first + count)};
}

// Flood fill over the 8 neighbours; each cell is pushed once.
class Components {
 public:
  Components(std::span<const float> map, int width, Cells columns, Cells rows, float distance_max)
      : map_(map),
        width_(width),
        columns_(columns),
        rows_(rows),
        distance_max_(distance_max),
        seen_(map.size()) {}

  std::vector<Area> find() {
    std::vector<Area> areas;
    for (int y = rows_.begin; y < rows_.end; ++y) {
      for (int x = columns_.begin; x < columns_.end; ++x) {
        if (map_[index(x, y)] > distance_max_ && seen_[index(x, y)] == 0) {
          areas.push_back(fill(x, y));
        }
      }
    }
    return areas;
  }

 private:
  [[nodiscard]] std::size_t index(int x, int y) const noexcept {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(x);
  }

  void push(int x, int y) {
    if (x < columns_.begin || x >= columns_.end || y < rows_.begin || y >= rows_.end) return;
    const std::size_t at = index(x, y);
    if (seen_[at] != 0 || !(map_[at] > distance_max_)) return;
    seen_[at] = 1;
    stack_.push_back({x, y});
  }

  Area fill(int first_x, int first_y) {
    Area area{first_x, first_y, first_x, first_y, 0, map_[index(first_x, first_y)]};
    push(first_x, first_y);
    while (!stack_.empty()) {
      const auto [x, y] = stack_.back();
      stack_.pop_back();
      area.x1 = std::min(area.x1, x);
      area.x2 = std::max(area.x2, x);
      area.y1 = std::min(area.y1, y);
      area.y2 = std::max(area.y2, y);
      area.distance = std::max(area.distance, map_[index(x, y)]);
      ++area.cells;
      for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) push(x + dx, y + dy);
      }
    }
    return area;
  }

  struct Cell {
    int x;
    int y;
  };
  std::span<const float> map_;
  int width_;
  Cells columns_;
  Cells rows_;
  float distance_max_;
  std::vector<std::uint8_t> seen_;
  std::vector<Cell> stack_;
};

class DistanceMap final : public Postprocessor {
 public:
  DistanceMap(const PostprocessSpec& spec, std::string output)
      : spec_(spec), output_(std::move(output)) {}

  Result<TaskResult> run(std::span<const TensorView> outputs,
                         const Placement& placement) const override {
    if (outputs.empty()) return corrupt(output_, "missing");
    if (auto checked = check_placement(placement); !checked) {
      return std::unexpected(checked.error());
    }
    auto shape = sample_shape(outputs[0].shape, 2);
    // [n,1,h,w]: a channel dimension stays between the batch and the map.
    if (!shape && outputs[0].shape.size() == 4 && outputs[0].shape[1] == 1) {
      shape = Shape(outputs[0].shape.begin() + 2, outputs[0].shape.end());
    }
    const auto map = read_floats(outputs[0], output_);
    if (!map) return std::unexpected(map.error());
    if (!shape || map->values.empty() ||
        map->values.size() != static_cast<std::size_t>((*shape)[0] * (*shape)[1])) {
      return corrupt(output_,
                     "shape " + to_string(outputs[0].shape) + ", expected [h,w] or [1,h,w]");
    }
    const auto height = static_cast<int>((*shape)[0]);
    const auto width = static_cast<int>((*shape)[1]);
    const float cell_width = static_cast<float>(placement.model_width) / static_cast<float>(width);
    const float cell_height =
        static_cast<float>(placement.model_height) / static_cast<float>(height);
    const Cells columns =
        cells_inside(placement.content_x, placement.content_width, cell_width, width);
    const Cells rows =
        cells_inside(placement.content_y, placement.content_height, cell_height, height);
    DistanceResult result;
    result.distance = largest(map->values, width, columns, rows);
    for (const Area& area :
         Components(map->values, width, columns, rows, spec_.distance_max).find()) {
      result.differences.push_back(difference(area, cell_width, cell_height, placement));
    }
    std::erase_if(result.differences, [](const Difference& d) { return d.box.area() <= 0; });
    keep_largest(result.differences);
    return TaskResult(std::move(result));
  }

 private:
  static float largest(std::span<const float> map, int width, Cells columns, Cells rows) {
    if (columns.begin == columns.end || rows.begin == rows.end) return 0;
    float found = map[static_cast<std::size_t>(rows.begin) * static_cast<std::size_t>(width) +
                      static_cast<std::size_t>(columns.begin)];
    for (int y = rows.begin; y < rows.end; ++y) {
      const float* row = map.data() + static_cast<std::ptrdiff_t>(y) * width;
      for (int x = columns.begin; x < columns.end; ++x) found = std::max(found, row[x]);
    }
    return found;
  }

  static Difference difference(const Area& area, float cell_width, float cell_height,
                               const Placement& placement) {
    const Box model{static_cast<float>(area.x1) * cell_width,
                    static_cast<float>(area.y1) * cell_height,
                    static_cast<float>(area.x2 + 1) * cell_width,
                    static_cast<float>(area.y2 + 1) * cell_height};
    const float cell_area = cell_width / placement.scale_x * cell_height / placement.scale_y;
    return {to_source(model, placement), area.distance, static_cast<float>(area.cells) * cell_area};
  }

  // The detections_max largest distances, so that a noisy map can't flood the decision.
  void keep_largest(std::vector<Difference>& differences) const {
    std::ranges::sort(differences, [](const Difference& a, const Difference& b) {
      return std::tie(b.distance, a.box.y1, a.box.x1) < std::tie(a.distance, b.box.y1, b.box.x1);
    });
    const auto kept = static_cast<std::size_t>(spec_.detections_max);
    if (differences.size() > kept) differences.resize(kept);
  }

  PostprocessSpec spec_;
  std::string output_;
};

}  // namespace

Made make_distance_map(const PostprocessSpec& spec, const Signature& signature) {
  if (auto checked = check_layout(spec, {}); !checked) return std::unexpected(checked.error());
  const auto& outputs = signature.outputs;
  const bool fits = outputs.size() == 1 && is_floating(outputs[0].type) &&
                    (sample_shape(outputs[0].shape, 2).has_value() ||
                     (outputs[0].shape.size() == 4 && outputs[0].shape[1] == 1));
  if (!fits) {
    return fail(
        ErrorKind::invalid_input,
        "the model has " + describe(signature) +
            "; expected one float output of [h,w] or [1,h,w]; for one distance a sample use "
            "embedding_distance");
  }
  return std::make_unique<DistanceMap>(spec, outputs[0].name);
}

}  // namespace takt::postprocess
