// SPDX-License-Identifier: Apache-2.0
#include "line/training_set.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

namespace takt::line {
namespace {

using nlohmann::json;

// An annotation's id is the decision's times this, plus its number from 1: unique over all pages. More labels a picture
// than that aren't written.
constexpr std::int64_t kAnnotationsMax = 100'000;
constexpr std::size_t kSeqDigits = 8;  // so that names sort as the frames came
constexpr std::size_t kLineNameMax = 64;

// Recorded names may come from files whose names are not UTF-8.
std::string text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void append_element(std::string& list, const json& value) {
  if (!list.empty()) list += ",\n";
  list += text(value);
}

double rounded(double value, double steps) {
  return std::round(value * steps) / steps;
}

constexpr double kBoxSteps = 100;  // of a pixel, as in the records

// The float nearest to 0.07 as the double nearest to it.
double edge(float value) {
  return rounded(double{value}, kBoxSteps);
}

// "2023-11-14 22:13:20" as COCO writes it, in UTC; empty for a time out of range.
std::string date(std::int64_t unix_us) {
  const auto seconds = static_cast<std::time_t>(unix_us / 1'000'000);
  std::tm parts{};
  std::array<char, 32> buffer{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return {};
  return {buffer.data(), std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string yolo_number(double value) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::fixed, 6);
  return {buffer.data(), end.ptr};
}

std::string yolo_labels(const TrainingPicture& picture) {
  std::string lines;
  const double width = picture.width;
  const double height = picture.height;
  for (const TrainingLabel& label : picture.labels) {
    const double x1 = edge(label.box.x1);
    const double y1 = edge(label.box.y1);
    const double x2 = edge(label.box.x2);
    const double y2 = edge(label.box.y2);
    lines += std::to_string(label.class_index);
    for (const double value :
         {(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height}) {
      lines += ' ' + yolo_number(value);
    }
    lines += '\n';
  }
  return lines;
}

// One line a name, whatever a model called its classes.
std::string yolo_classes(const std::vector<std::string>& classes) {
  std::string lines;
  for (std::string name : classes) {
    std::ranges::replace_if(name, [](char c) { return c == '\n' || c == '\r'; }, ' ');
    lines += name + '\n';
  }
  return lines;
}

// Without `path`, readers take the folder of the file; a relative one they look for elsewhere.
std::string yolo_data(const std::vector<std::string>& classes) {
  std::string yaml =
      "# Made by takt. `path` is left out: it is the folder of this file.\n"
      "# All pictures serve both purposes; split them as you need.\n"
      "train: images\nval: images\nnc: " +
      std::to_string(classes.size()) + "\nnames:";
  if (classes.empty()) return yaml + " {}\n";
  yaml += '\n';
  for (std::size_t i = 0; i < classes.size(); ++i) {
    yaml += "  " + std::to_string(i) + ": " + text(classes[i]) + '\n';  // JSON strings are YAML
  }
  return yaml;
}

json categories(const std::vector<std::string>& classes) {
  json out = json::array();
  for (std::size_t i = 0; i < classes.size(); ++i) {
    out.push_back({{"id", i + 1}, {"name", classes[i]}, {"supercategory", "defect"}});
  }
  return out;
}

bool is_plain(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '_';
}

}  // namespace

std::string_view to_string(LabelOrigin origin) noexcept {
  switch (origin) {
    case LabelOrigin::reviewer:
      return "reviewer";
    case LabelOrigin::recorded:
      return "recorded";
    case LabelOrigin::none:
      return "none";
  }
  return "none";
}

std::string picture_name(const ReviewItem& item) {
  std::string name = item.record.line.substr(0, kLineNameMax);
  std::ranges::replace_if(name, [](char c) { return !is_plain(c); }, '_');
  const bool changed = name != item.record.line;
  const std::string seq = std::to_string(item.record.seq.value);
  name += '-' + std::string(kSeqDigits - std::min(kSeqDigits, seq.size()), '0') + seq;
  return changed ? name + '.' + std::to_string(item.id) : name;
}

Box clipped(const Box& box, int width, int height) noexcept {
  const auto inside = [](float value, int size) {
    if (!std::isfinite(value)) return 0.0F;
    return static_cast<float>(edge(std::clamp(value, 0.0F, static_cast<float>(size))));
  };
  const Box cut{inside(box.x1, width), inside(box.y1, height), inside(box.x2, width),
                inside(box.y2, height)};
  return cut.area() > 0 ? cut : Box{};
}

TrainingSet::TrainingSet(LabelFormat format, std::vector<std::string> classes)
    : format_(format), classes_(std::move(classes)) {}

std::vector<TrainingFile> TrainingSet::add(const ReviewItem& item, const TrainingPicture& picture) {
  if (format_ == LabelFormat::yolo) {
    return {{"labels/" + picture.name + ".txt", yolo_labels(picture)}};
  }
  add_coco(item, picture);
  return {};
}

void TrainingSet::add_coco(const ReviewItem& item, const TrainingPicture& picture) {
  json image{{"id", item.id},
             {"file_name", picture.name + ".png"},
             {"width", picture.width},
             {"height", picture.height},
             {"line", item.record.line},
             {"seq", item.record.seq.value},
             {"part_id", item.record.part_id},
             {"role", picture.role},
             {"verdict", to_string(item.record.verdict)},
             {"decision", to_string(item.review->decision)},
             {"decided_by", item.review->by},
             {"labels_from", to_string(picture.origin)}};
  if (const std::string captured = date(item.record.captured_wall_us); !captured.empty()) {
    image["date_captured"] = captured;
  }
  append_element(images_, image);
  std::int64_t number = 0;
  for (const TrainingLabel& label : picture.labels) {
    if (++number >= kAnnotationsMax) break;
    const double x = edge(label.box.x1);
    const double y = edge(label.box.y1);
    const double width = rounded(edge(label.box.x2) - x, kBoxSteps);
    const double height = rounded(edge(label.box.y2) - y, kBoxSteps);
    append_element(annotations_, {{"id", item.review->id * kAnnotationsMax + number},
                                  {"image_id", item.id},
                                  {"category_id", label.class_index + 1},
                                  {"bbox", {x, y, width, height}},
                                  {"area", rounded(width * height, kBoxSteps * kBoxSteps)},
                                  {"segmentation", json::array()},
                                  {"iscrowd", 0}});
  }
}

std::vector<TrainingFile> TrainingSet::documents() const {
  if (format_ == LabelFormat::yolo) {
    return {{"classes.txt", yolo_classes(classes_)}, {"data.yaml", yolo_data(classes_)}};
  }
  return {{"annotations.json",
           "{\"info\": {\"description\": \"verdicts of takt that a person has decided\", "
           "\"version\": \"1\"},\n\"licenses\": [],\n\"categories\": " +
               text(categories(classes_)) + ",\n\"images\": [\n" + images_ +
               "],\n\"annotations\": [\n" + annotations_ + "]}\n"}};
}

std::size_t TrainingSet::bytes() const noexcept {
  return images_.size() + annotations_.size();
}

}  // namespace takt::line
