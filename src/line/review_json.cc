// SPDX-License-Identifier: Apache-2.0
#include "line/review_json.h"

#include "line/record_json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <string>

namespace takt::line {
namespace {

using nlohmann::json;

json labels_json(const std::vector<ReviewLabel>& labels) {
  json out = json::array();
  for (const ReviewLabel& label : labels) {
    out.push_back({{"class", label.class_name},
                   {"box", {label.box.x1, label.box.y1, label.box.x2, label.box.y2}}});
  }
  return out;
}

std::unexpected<ReviewError> expected(std::string_view key, std::string_view what) {
  return refuse(ReviewCode::invalid, std::string(key) + ": expected " + std::string(what));
}

// Nothing but `known` keys. A key is quoted only as far as it is short and plain.
ReviewResult<void> check_keys(const json& in, std::string_view place,
                              std::span<const std::string_view> known) {
  for (const auto& [key, value] : in.items()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    constexpr std::size_t kShownMax = 40;
    std::string message(place);
    message += key.size() <= kShownMax ? "unknown key '" + key + "'" : "an unknown key";
    message += "; expected ";
    for (const std::string_view name : known) {
      if (name != known.front()) message += ", ";
      message += name;
    }
    return refuse(ReviewCode::invalid, std::move(message));
  }
  return {};
}

ReviewResult<ReviewLabel> label_from(const json& in, const std::string& place) {
  static constexpr std::array<std::string_view, 2> kKeys{"class", "box"};
  if (!in.is_object()) return expected(place, "an object with class and box");
  if (auto known = check_keys(in, place + ": ", kKeys); !known) {
    return std::unexpected(std::move(known.error()));
  }
  const auto name = in.find("class");
  if (name == in.end() || !name->is_string()) return expected(place + ".class", "a string");
  const auto box = in.find("box");
  if (box == in.end() || !box->is_array() || box->size() != 4 ||
      !std::ranges::all_of(*box, [](const json& edge) { return edge.is_number(); })) {
    return expected(place + ".box", "[x1, y1, x2, y2] in pixels");
  }
  return ReviewLabel{name->get<std::string>(),
                     {box->at(0).get<float>(), box->at(1).get<float>(), box->at(2).get<float>(),
                      box->at(3).get<float>()}};
}

ReviewResult<std::vector<ReviewLabel>> labels_from(const json& in) {
  if (!in.is_array()) return expected("labels", "a list of objects with class and box");
  std::vector<ReviewLabel> labels;
  for (const json& element : in) {
    auto label = label_from(element, "labels[" + std::to_string(labels.size()) + "]");
    if (!label) return std::unexpected(std::move(label.error()));
    labels.push_back(std::move(*label));
  }
  return labels;
}

}  // namespace

json to_json(const Review& review) {
  json out{{"id", review.id},
           {"decided_us", review.decided_us},
           {"decision", to_string(review.decision)},
           {"by", review.by},
           {"note", review.note},
           {"earlier", review.earlier}};
  if (review.labels) out["labels"] = labels_json(*review.labels);
  return out;
}

json to_json(const ReviewItem& item) {
  json out = to_json(item.record);
  out["id"] = item.id;
  out["pictures"] = json::array();
  for (const StoredPicture& picture : item.pictures) {
    out["pictures"].push_back({{"role", picture.role},
                               {"width", picture.width},
                               {"height", picture.height},
                               {"png_bytes", picture.png_bytes}});
  }
  if (item.review) out["review"] = to_json(*item.review);
  return out;
}

json to_json(const ReviewPage& page) {
  json out{{"items", json::array()}};
  for (const ReviewItem& item : page.items) out["items"].push_back(to_json(item));
  if (page.next) out["next"] = *page.next;
  return out;
}

ReviewResult<ReviewDecision> decision_from_json(std::string_view text) {
  static constexpr std::array<std::string_view, 5> kKeys{"decision", "by", "note", "labels",
                                                         "replace"};
  const json in = json::parse(text, nullptr, false);
  if (!in.is_object()) {
    return refuse(ReviewCode::invalid, "expected a JSON object with decision and by");
  }
  if (auto known = check_keys(in, "", kKeys); !known) {
    return std::unexpected(std::move(known.error()));
  }
  ReviewDecision decision;
  const json word = in.value("decision", json());
  if (word != "pass" && word != "reject") return expected("decision", "\"pass\" or \"reject\"");
  decision.decision = word == "pass" ? Verdict::pass : Verdict::reject;
  const json by = in.value("by", json());
  if (!by.is_string()) return expected("by", "the name of the person who decides");
  decision.by = by.get<std::string>();
  const json note = in.value("note", json(""));
  if (!note.is_string()) return expected("note", "a string");
  decision.note = note.get<std::string>();
  const json replace = in.value("replace", json(false));
  if (!replace.is_boolean()) return expected("replace", "true or false");
  decision.replace = replace.get<bool>();
  if (const auto given = in.find("labels"); given != in.end()) {
    auto labels = labels_from(*given);
    if (!labels) return std::unexpected(std::move(labels.error()));
    decision.labels = std::move(*labels);
  }
  return decision;
}

}  // namespace takt::line
