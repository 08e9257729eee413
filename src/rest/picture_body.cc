// SPDX-License-Identifier: Apache-2.0
#include "rest/picture_body.h"

#include "core/suggest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <span>
#include <utility>

namespace takt::rest {
namespace {

using server::ApiCode;
using server::ApiResult;

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::unexpected<server::ApiError> damaged(const std::string& what) {
  return server::refuse(ApiCode::invalid_argument, "the form is damaged: " + what);
}

// `form-data; name="board"; filename="a.png"` -> the value of `name`. Values may be quoted, with
// backslashes before quotes.
std::optional<std::string> parameter(std::string_view header, std::string_view name) {
  std::size_t at = header.find(';');
  while (at < header.size()) {
    std::string_view rest = trim(header.substr(at + 1));
    const std::size_t equals = rest.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string key = lower(trim(rest.substr(0, equals)));
    rest = trim(rest.substr(equals + 1));
    std::string value;
    std::size_t end = 0;
    if (rest.starts_with('"')) {
      for (end = 1; end < rest.size() && rest[end] != '"'; ++end) {
        if (rest[end] == '\\' && end + 1 < rest.size()) ++end;
        value += rest[end];
      }
      if (end >= rest.size()) return std::nullopt;
      end = std::min(rest.find(';', end), rest.size());
    } else {
      end = std::min(rest.find(';'), rest.size());
      value = std::string(trim(rest.substr(0, end)));
    }
    if (key == name) return value;
    at = static_cast<std::size_t>(rest.data() - header.data()) + end;
  }
  return std::nullopt;
}

struct Part {
  std::string name;
  std::string_view content;
};

// The headers of a part, which end with an empty line; `text` begins behind it afterwards.
ApiResult<std::string> part_name(std::string_view& text) {
  std::optional<std::string> name;
  while (true) {
    const std::size_t end = text.find("\r\n");
    if (end == std::string_view::npos) return damaged("a part ends within its headers");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (line.empty()) break;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return damaged("a header without ':'");
    if (lower(line.substr(0, colon)) == "content-disposition") {
      name = parameter(line.substr(colon + 1), "name");
    }
  }
  if (!name || name->empty()) return damaged("a part without a name");
  return *std::move(name);
}

ApiResult<std::vector<Part>> parts_of(std::string_view body, const std::string& boundary) {
  const std::string delimiter = "\r\n--" + boundary;
  // The first delimiter may stand at the beginning, or behind text that means nothing.
  std::size_t at = 0;
  if (!body.starts_with(std::string_view(delimiter).substr(2))) {
    at = body.find(delimiter);
    if (at == std::string_view::npos) return damaged("its boundary isn't there");
    at += 2;
  }
  body.remove_prefix(at + delimiter.size() - 2);
  std::vector<Part> parts;
  while (!body.starts_with("--")) {
    const std::size_t line_end = body.find("\r\n");
    if (line_end == std::string_view::npos || !trim(body.substr(0, line_end)).empty()) {
      return damaged("text behind a boundary");
    }
    body.remove_prefix(line_end + 2);
    if (parts.size() == kPartsMax) return damaged(fmt::format("more than {} parts", kPartsMax));
    ApiResult<std::string> name = part_name(body);
    if (!name) return std::unexpected(std::move(name).error());
    const std::size_t end = body.find(delimiter);
    if (end == std::string_view::npos) return damaged("the last boundary is missing");
    parts.push_back({std::move(*name), body.substr(0, end)});
    body.remove_prefix(end + delimiter.size());
  }
  return parts;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

ApiResult<PictureBody> read_form(std::string_view content_type, std::string_view body,
                                 const std::vector<std::string>& roles,
                                 const std::vector<std::string>& fields) {
  const std::optional<std::string> boundary = parameter(content_type, "boundary");
  constexpr std::size_t kBoundaryMax = 70;  // RFC 2046
  if (!boundary || boundary->empty() || boundary->size() > kBoundaryMax) {
    return damaged("Content-Type names no boundary of 1 to 70 characters");
  }
  const ApiResult<std::vector<Part>> parts = parts_of(body, *boundary);
  if (!parts) return std::unexpected(parts.error());
  PictureBody read;
  for (const Part& part : *parts) {
    const bool again =
        read.fields.contains(part.name) ||
        std::ranges::find(read.images, part.name, &line::EncodedImage::role) != read.images.end();
    if (again) {
      return server::refuse(ApiCode::invalid_argument,
                            fmt::format("the part '{}' is there twice", part.name));
    }
    if (std::ranges::find(roles, part.name) != roles.end()) {
      if (part.content.empty()) {
        return server::refuse(ApiCode::invalid_argument,
                              fmt::format("the picture '{}' is empty", part.name));
      }
      read.images.push_back({part.name, bytes_of(part.content)});
    } else if (std::ranges::find(fields, part.name) == fields.end()) {
      std::vector<std::string> known = roles;
      known.insert(known.end(), fields.begin(), fields.end());
      return server::refuse(ApiCode::invalid_argument, fmt::format("unknown part '{}'{}", part.name,
                                                                   suggestion(part.name, known)));
    } else if (part.content.size() > kFieldBytesMax) {
      return server::refuse(ApiCode::invalid_argument,
                            fmt::format("the part '{}' has {} bytes; at most {} are taken",
                                        part.name, part.content.size(), kFieldBytesMax));
    } else {
      read.fields.emplace(part.name, part.content);
    }
  }
  if (read.images.empty()) {
    return server::refuse(
        ApiCode::invalid_argument,
        fmt::format("the form has no picture; expected the parts {}", fmt::join(roles, ", ")));
  }
  return read;
}

}  // namespace

ApiResult<PictureBody> read_pictures(std::string_view content_type, std::string_view body,
                                     const std::vector<std::string>& roles,
                                     const std::vector<std::string>& fields) {
  const std::string type = lower(trim(content_type.substr(0, content_type.find(';'))));
  if (type == "multipart/form-data") return read_form(content_type, body, roles, fields);
  const bool picture = type.empty() || type == "application/octet-stream" || type == "image/png" ||
                       type == "image/jpeg" || type == "image/bmp";
  if (!picture) {
    return server::refuse(
        ApiCode::invalid_argument,
        fmt::format("can't read a body of type '{}'; expected image/png, image/jpeg, image/bmp, "
                    "application/octet-stream or multipart/form-data",
                    type));
  }
  if (body.empty()) {
    return server::refuse(ApiCode::invalid_argument,
                          "the body is empty; expected a PNG, JPEG or BMP picture");
  }
  PictureBody read;
  read.images.push_back({roles.front(), bytes_of(body)});
  return read;
}

}  // namespace takt::rest
