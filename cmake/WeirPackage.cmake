# SPDX-License-Identifier: Apache-2.0
# Debian packages, by `cpack -G DEB` in a build folder: libweir0, libweir-heap0 and libweir-ucx0 where they were built,
# libweir-dev, weir-tools, and weir-peers: the programs that `weir bench` measures, with whatever other pools they need. What the binaries need is found out by dpkg-shlibdeps (package dpkg-dev).

set(CPACK_PACKAGE_NAME weir)
set(CPACK_PACKAGE_VENDOR "the weir maintainers")
set(CPACK_PACKAGE_CONTACT "the weir maintainers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_COMPONENTS_ALL weir dev tools peers)
set(weir_dev_needs "libweir0 (= ${PROJECT_VERSION})")

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# weir's own libraries are found in the build, and the dependency on their package is written here.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/lib ${PROJECT_BINARY_DIR}/lib/heap ${PROJECT_BINARY_DIR}/lib/ucx)

# weir_package(<component> <package> <section> <description>)
function(weir_package component package section description)
    string(TOUPPER ${component} upper)
    set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${package} PARENT_SCOPE)
    set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION ${section} PARENT_SCOPE)
    set(CPACK_COMPONENT_${upper}_DESCRIPTION ${description} PARENT_SCOPE)
endfunction()

weir_package(weir libweir0 libs "${PROJECT_DESCRIPTION}: shared library")
weir_package(tools weir-tools utils "${PROJECT_DESCRIPTION}: the weir command")
weir_package(peers weir-peers utils "${PROJECT_DESCRIPTION}: what weir bench measures")
weir_package(dev libweir-dev libdevel "${PROJECT_DESCRIPTION}: headers, static libraries, manual pages")
foreach(name heap ucx)
    if(TARGET weir_${name})
        list(APPEND CPACK_COMPONENTS_ALL ${name})
        weir_package(${name} libweir-${name}0 libs "${PROJECT_DESCRIPTION}: libweir_${name}")
        string(TOUPPER ${name} upper)
        set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "libweir0 (= ${PROJECT_VERSION})")
        string(APPEND weir_dev_needs ", libweir-${name}0 (= ${PROJECT_VERSION})")
    endif()
endforeach()
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "${weir_dev_needs}")
# Headers, pages and archives need no library; to be asked of each of some hundred pages takes most of the time.
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
include(CPack)
