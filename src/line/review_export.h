// SPDX-License-Identifier: Apache-2.0
// A page of decisions as an archive of training data.
// Thread-safe: on the connection's thread, within one transaction.
// Owns: nothing. Throws as store_reader.h says.
#pragma once

#include "line/review.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstddef>

namespace takt::line {

// As ReviewDesk::export_labels says. Errors: too_large, unavailable.
[[nodiscard]] ReviewResult<ExportArchive> export_reviews(SQLite::Database& db,
                                                         const ExportOptions& options,
                                                         LabelFormat format, std::size_t bytes_max);

}  // namespace takt::line
