// Sequence files and swap files (docs/sequences.md) on the C library of HDF5.
#pragma once

#include <hdf5.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sdkit.hpp"

// An object of HDF5 that is closed when its owner goes.
class H5Handle {
public:
    using Close = herr_t (*)(hid_t);
    H5Handle() = default;
    H5Handle(hid_t id, Close closer) : id_(id), close_(closer) {}
    H5Handle(H5Handle&& other) noexcept { *this = std::move(other); }
    H5Handle& operator=(H5Handle&& other) noexcept {
        std::swap(id_, other.id_);
        std::swap(close_, other.close_);
        return *this;
    }
    ~H5Handle() { close(); }

    hid_t get() const { return id_; }
    bool valid() const { return id_ >= 0; }
    // Closes it now; false where that fails, as on a full disk.
    bool close() {
        const hid_t id = std::exchange(id_, H5I_INVALID_HID);
        return id < 0 || close_(id) >= 0;
    }

private:
    hid_t id_ = H5I_INVALID_HID;
    Close close_ = nullptr;
};

// A sequence file that is read batch by batch.
class SequenceFile {
public:
    // Throws MissingFileError, FileFormatError or DataError.
    explicit SequenceFile(std::filesystem::path path);

    const std::filesystem::path& path() const { return path_; }
    const sdkit::Element& element() const { return element_; }  // without units
    std::int64_t count() const { return shape_[0]; }
    std::int64_t steps() const { return shape_[1]; }
    // Numbers of valid elements, where sequences differ in them.
    const std::optional<std::vector<std::int64_t>>& lengths() const { return lengths_; }
    // An attribute that is text or a number; nothing where it is absent.
    std::optional<std::string> text(const std::string& name) const;
    std::optional<double> number(const std::string& name) const;
    // Returns checked sequences (B, T, *element).
    sdkit::Tensor read(std::int64_t first, std::int64_t last) const;

private:
    H5Handle dataset(const std::string& name, const std::string& wanted) const;
    std::string names() const;
    std::string kind() const;
    void read_element();
    void read_lengths();

    std::filesystem::path path_;
    H5Handle file_, data_;
    sdkit::Shape shape_;
    sdkit::Element element_;
    std::optional<std::vector<std::int64_t>> lengths_;
};

// A file that grows batch by batch under a temporary name, and has its own name when `finish` has returned. What is not
// finished leaves nothing behind.
class GrowingFile {
public:
    // Throws OutputExistsError or MissingFileError.
    GrowingFile(std::filesystem::path path, bool force);
    ~GrowingFile();
    GrowingFile(const GrowingFile&) = delete;
    GrowingFile& operator=(const GrowingFile&) = delete;

    void attribute(const std::string& name, const std::string& value);
    void attribute(const std::string& name, std::int64_t value);
    void attribute(const std::string& name, double value);
    // Appends (B, ...) to the data set of this name, which the first batch creates.
    void append(const std::string& name, const sdkit::Tensor& x);
    // Writes one small data set whole.
    void put(const std::string& name, const std::vector<std::int64_t>& values);
    void finish();

private:
    void check(bool good) const;

    std::filesystem::path path_, temporary_;
    H5Handle file_;
    std::map<std::string, H5Handle> datasets_;
};
