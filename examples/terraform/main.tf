terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.20, < 7.0"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.4"
    }
  }
}

resource "aws_dynamodb_table" "locks" {
  name         = "leasehold-example-locks"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "lockKey"

  attribute {
    name = "lockKey"
    type = "S"
  }

  ttl {
    attribute_name = "ttl"
    enabled        = true
  }

  # The table has the fencing tokens and the tokens of work that is done. Remove this block to destroy the table.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_iam_role" "nightly" {
  name = "leasehold-example-nightly"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

data "aws_iam_policy_document" "nightly_locks" {
  statement {
    actions   = ["dynamodb:UpdateItem", "dynamodb:GetItem"]
    resources = [aws_dynamodb_table.locks.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["nightly-report"]
    }

    # ForAllValues lets a request without any key pass.
    condition {
      test     = "Null"
      variable = "dynamodb:LeadingKeys"
      values   = ["false"]
    }
  }
}

resource "aws_iam_role_policy" "nightly_locks" {
  name   = "locks"
  role   = aws_iam_role.nightly.id
  policy = data.aws_iam_policy_document.nightly_locks.json
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.nightly.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

# `npm run build` makes the bundle.
data "archive_file" "nightly" {
  type        = "zip"
  source_file = "${path.module}/dist/nightly.mjs"
  output_path = "${path.module}/dist/nightly.zip"
}

resource "aws_lambda_function" "nightly" {
  function_name    = "leasehold-example-nightly"
  role             = aws_iam_role.nightly.arn
  runtime          = "nodejs24.x"
  architectures    = ["arm64"]
  handler          = "nightly.handler"
  memory_size      = 256
  timeout          = 60
  filename         = data.archive_file.nightly.output_path
  source_code_hash = data.archive_file.nightly.output_base64sha256

  environment {
    variables = {
      LOCK_TABLE_NAME     = aws_dynamodb_table.locks.name
      LOCK_RETENTION_DAYS = "7"
      LOCK_METRICS        = "emf"
    }
  }
}

# A night that failed is not run again by itself.
resource "aws_lambda_function_event_invoke_config" "nightly" {
  function_name          = aws_lambda_function.nightly.function_name
  maximum_retry_attempts = 0
}

resource "aws_cloudwatch_event_rule" "every_night" {
  name                = "leasehold-example-every-night"
  schedule_expression = "cron(0 2 * * ? *)"
}

resource "aws_cloudwatch_event_target" "nightly" {
  rule = aws_cloudwatch_event_rule.every_night.name
  arn  = aws_lambda_function.nightly.arn
}

resource "aws_lambda_permission" "every_night" {
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.nightly.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.every_night.arn
}
